# Made from tests/aio/test_refusals.py by scripts/async_to_sync.py.
"""Targets, timeouts, sizes and responses that cannot be: each an error by name, and none of another call's."""

import datetime

import numpy as np
import pytest

from tests.support.results import assert_same
from tests.support.scenes import RAW, candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import InternalError, InvalidArgumentError, ResourceExhaustedError

NOT_SECONDS = [float("nan"), -1, "5", datetime.timedelta(seconds=5), True]


@pytest.mark.parametrize(
    "target",
    [None, 7, "", "localhost", "http://localhost:50051", "tcp://127.0.0.1:1", "host:abc", "host:0", "host:65536", ":1"],
)
def test_an_invalid_target_is_refused_by_name(target):
    with pytest.raises(InvalidArgumentError, match=r'target: is .*; expected "host:port" or "unix:/path"') as caught:
        Client(target)
    assert caught.value.field == "target"


@pytest.mark.parametrize(
    "target", ["host:1", "127.0.0.1:65535", "[::1]:50051", "unix:/tmp/x", "unix-abstract:x", "dns:///host:1"]
)
def test_valid_targets_are_accepted(target):
    with Client(target) as client:
        assert client.target == target


@pytest.mark.parametrize("timeout", NOT_SECONDS)
def test_an_invalid_timeout_is_refused_by_name(client, timeout):
    with pytest.raises(InvalidArgumentError, match="timeout: "):
        Client("host:1", timeout=timeout)
    with pytest.raises(InvalidArgumentError, match="timeout: "):
        client.model(timeout=timeout)
    with pytest.raises(InvalidArgumentError, match="timeout: "):
        client.wait_ready(timeout)
    with client.session(**scene(), **RAW) as session:
        with pytest.raises(InvalidArgumentError, match="timeout: "):
            session.score(candidates(), timeout=timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 1e10, 30, np.float32(30)])
def test_an_infinite_timeout_is_no_deadline(server, timeout):
    with Client(server.target, timeout=timeout) as client:
        client.wait_ready(timeout)
        expected = client.score(**scene(), action_candidates=candidates(), **RAW, timeout=timeout)
        with client.session(**scene(), **RAW) as session:
            assert_same(session.score(candidates()), expected)
        plan = client.plan(**scene(), horizon=2, samples=8, elites=4, iterations=2)
        assert (plan.result()).complete


def test_an_oversize_request_of_a_session_fails_alone(start_server):
    small = start_server("--max-message-mib", "1", "--threads", "1")
    with Client(small.target, timeout=30) as client, client.session(**scene(), **RAW) as session:
        good = session.score(candidates())
        ahead = [session.submit(candidates()) for _ in range(2)]
        with pytest.raises(ResourceExhaustedError, match="the limit is 1048576") as caught:
            session.submit(candidates(samples=8000, horizon=4))
        assert caught.value.reason == "MESSAGE_TOO_LARGE"
        ahead += [session.submit(candidates()) for _ in range(2)]
        for pending in ahead:
            assert_same(pending.result(), good)
        assert session.reconnects == 0


def test_a_response_of_another_service_is_an_error_by_name(babbling_target):
    with Client(babbling_target, timeout=30) as client:
        with pytest.raises(InternalError, match="cannot be parsed"):
            client.model()
        client._specs[""] = None
        with pytest.raises(InternalError, match="cannot be parsed"):
            client.plan(context="id").result()
