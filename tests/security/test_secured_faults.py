"""Faults on a server that is secured and observed: the same errors, and each of them counted and logged once."""

import asyncio
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from tests.operation.test_metrics import Reading, metrics_url, read
from tests.security.certificates import TOKENS, WRONG_TOKEN
from tests.support.scenes import LONG, raw_candidates, scene
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.errors import (
    DeadlineExceededError,
    InternalError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)

DEADLINE = 60
SCORE = "worldforge.jepa.v1.WorldModelService/Score"


@pytest.fixture(scope="module")
def start(start_server, credentials):
    """Starts such a server, anywhere or at an address."""
    flags = [*credentials.tls_flags(), "--token-file", credentials.token_file]
    flags += ["--metrics-address", "127.0.0.1:0", "--log-format", "json", "--queue-size", "130000", "--threads", "1"]
    flags += ["--model", "tiny", "--model", "raises=python:tests.external.faulty_models:faulty,case=raises-value-error"]
    return lambda **where: start_server(*flags, **where)


@pytest.fixture(scope="module")
def observed(start):
    return start()


@pytest.fixture
def shown(credentials):
    return {"timeout": DEADLINE, "cacert": credentials.cacert, "token": TOKENS["arm"]}


@pytest.fixture
def handled(observed):
    """Waits until calls of Score have ended with a code in metrics and log; returns the log's newest line of it."""

    def wait(code, reason=""):
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            every = [line for line in map(json.loads, calls(observed)) if line["code"] == code]
            logged = [line for line in every if line["reason"] == reason]
            now = Reading(read(metrics_url(observed)))
            if logged and now("grpc_server_handled_total", grpc_code=code) == len(every):
                assert not reason or now("worldforge_jepa_errors_total", reason=reason) >= 1
                return logged[-1]
            time.sleep(0.02)
        raise AssertionError(f"{code} {reason} was not seen:\n{observed.log}")

    return wait


def calls(server):
    return [line for line in server.log.splitlines() if '"code"' in line]


def test_every_line_of_the_log_is_json_with_a_level_and_a_logger(observed):
    for line in observed.log.splitlines():
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()


def test_a_wrong_token_is_refused_counted_and_logged(observed, shown, handled):
    with Client(observed.target, **shown | {"token": WRONG_TOKEN}) as client, pytest.raises(UnauthenticatedError):
        client.score(**scene(), **raw_candidates())
    assert handled("UNAUTHENTICATED", "INVALID_TOKEN")["principal"] == ""


def test_bytes_that_are_no_message_are_refused(observed, shown, credentials, handled):
    secure = grpc.ssl_channel_credentials(credentials.read("ca.pem"))
    with grpc.secure_channel(observed.target, secure) as channel, pytest.raises(grpc.RpcError) as caught:
        bearer = [("authorization", f"Bearer {TOKENS['arm']}")]
        channel.unary_unary(f"/{SCORE}")(b"\xff", metadata=bearer, timeout=DEADLINE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert handled("INVALID_ARGUMENT", "MALFORMED_MESSAGE")["method"] == SCORE


def test_a_model_that_raises_is_an_incident_in_answer_and_log(observed, shown, handled):
    with Client(observed.target, **shown) as client:
        actions = np.zeros((1, 5, 2, client.model("raises").action_dim), np.float32)
        with pytest.raises(InternalError) as caught:
            client.score(**scene(), action_candidates=actions, model="raises")
    incident = re.search(r"incident (\w+)", str(caught.value))[1]
    observed.wait_logged(incident)
    assert handled("INTERNAL", "MODEL_FAILED")["model"] == "raises"


def test_a_deadline_and_a_cancel_free_the_device(observed, shown):
    with Client(observed.target, **shown) as client:
        client.model()
        with pytest.raises(DeadlineExceededError):
            client.score(**scene(), **raw_candidates(**LONG), timeout=0.5)
        plan = client.plan(**scene(), horizon=8, samples=500, elites=5, iterations=500)
        next(plan)
        plan.cancel()
        assert client.score(**scene(), **raw_candidates()).best_index >= 0
    # The client ends a call at its deadline too, and the server may hear of that first.
    wait_ended(observed, {(SCORE, "DEADLINE_EXCEEDED"), (SCORE, "CANCELLED")})
    wait_ended(observed, {(f"{SCORE.rpartition('/')[0]}/Plan", "CANCELLED")})


def wait_ended(server, ways):
    """Return once a call has ended in one of these ways, a method and a code each."""
    deadline = time.monotonic() + DEADLINE
    while not ways & {(line["method"], line["code"]) for line in map(json.loads, calls(server))}:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.02)


async def test_overload_is_refused_with_a_delay(observed, shown, handled):
    async with AsyncClient(observed.target, **shown) as client:
        long = asyncio.create_task(client.score(**scene(), **raw_candidates(**LONG)))
        await asyncio.to_thread(wait_queued, observed, LONG["samples"] * LONG["horizon"])
        with pytest.raises(ResourceExhaustedError) as caught:
            await client.score(**scene(), **raw_candidates(samples=500, horizon=8))
        assert caught.value.retry_after > 0
        long.cancel()
    await asyncio.to_thread(handled, "RESOURCE_EXHAUSTED", "QUEUE_FULL")


def wait_queued(server, steps):
    deadline = time.monotonic() + DEADLINE
    while Reading(read(metrics_url(server)))("worldforge_jepa_queue_candidate_steps") < steps:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_session_outlives_the_server(observed, start, shown):  # the last test here: it kills the server
    with (
        Client(observed.target, **shown) as client,
        client.session(**scene()) as session,
        ThreadPoolExecutor(1) as pool,
    ):
        before = session.score(**raw_candidates())
        doomed = pool.submit(client.score, **scene(), **raw_candidates(**LONG))
        observed.kill()
        with pytest.raises(UnavailableError):
            doomed.result(DEADLINE)
        second = start(listen=observed.target)
        client.wait_ready(DEADLINE)
        after = session.score(**raw_candidates())
        np.testing.assert_array_equal(after.scores, before.scores)
    assert Reading(read(metrics_url(second)))("worldforge_jepa_ready") == 1
    assert second.terminate() == (0, "")
