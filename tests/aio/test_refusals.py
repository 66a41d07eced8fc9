"""Targets, timeouts, sizes and responses that cannot be: each an error by name, and none of another call's."""

import datetime

import numpy as np
import pytest

from tests.support.results import assert_same
from tests.support.scenes import RAW, candidates, scene
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import InternalError, InvalidArgumentError, ResourceExhaustedError

NOT_SECONDS = [float("nan"), -1, "5", datetime.timedelta(seconds=5), True]


@pytest.mark.parametrize(
    "target",
    [None, 7, "", "localhost", "http://localhost:50051", "tcp://127.0.0.1:1", "host:abc", "host:0", "host:65536", ":1"],
)
async def test_an_invalid_target_is_refused_by_name(target):
    with pytest.raises(InvalidArgumentError, match=r'target: is .*; expected "host:port" or "unix:/path"') as caught:
        AsyncClient(target)
    assert caught.value.field == "target"


@pytest.mark.parametrize(
    "target", ["host:1", "127.0.0.1:65535", "[::1]:50051", "unix:/tmp/x", "unix-abstract:x", "dns:///host:1"]
)
async def test_valid_targets_are_accepted(target):
    async with AsyncClient(target) as client:
        assert client.target == target


@pytest.mark.parametrize("timeout", NOT_SECONDS)
async def test_an_invalid_timeout_is_refused_by_name(client, timeout):
    with pytest.raises(InvalidArgumentError, match="timeout: "):
        AsyncClient("host:1", timeout=timeout)
    with pytest.raises(InvalidArgumentError, match="timeout: "):
        await client.model(timeout=timeout)
    with pytest.raises(InvalidArgumentError, match="timeout: "):
        await client.wait_ready(timeout)
    async with client.session(**scene(), **RAW) as session:
        with pytest.raises(InvalidArgumentError, match="timeout: "):
            await session.score(candidates(), timeout=timeout)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 1e10, 30, np.float32(30)])
async def test_an_infinite_timeout_is_no_deadline(server, timeout):
    async with AsyncClient(server.target, timeout=timeout) as client:
        await client.wait_ready(timeout)
        expected = await client.score(**scene(), action_candidates=candidates(), **RAW, timeout=timeout)
        async with client.session(**scene(), **RAW) as session:
            assert_same(await session.score(candidates()), expected)
        plan = client.plan(**scene(), horizon=2, samples=8, elites=4, iterations=2)
        assert (await plan.result()).complete


async def test_an_oversize_request_of_a_session_fails_alone(start_server):
    small = start_server("--max-message-mib", "1", "--threads", "1")
    async with AsyncClient(small.target, timeout=30) as client, client.session(**scene(), **RAW) as session:
        good = await session.score(candidates())
        ahead = [await session.submit(candidates()) for _ in range(2)]
        with pytest.raises(ResourceExhaustedError, match="the limit is 1048576") as caught:
            await session.submit(candidates(samples=8000, horizon=4))
        assert caught.value.reason == "MESSAGE_TOO_LARGE"
        ahead += [await session.submit(candidates()) for _ in range(2)]
        for pending in ahead:
            assert_same(await pending.result(), good)
        assert session.reconnects == 0


async def test_a_response_of_another_service_is_an_error_by_name(babbling_target):
    async with AsyncClient(babbling_target, timeout=30) as client:
        with pytest.raises(InternalError, match="cannot be parsed"):
            await client.model()
        client._specs[""] = None
        with pytest.raises(InternalError, match="cannot be parsed"):
            await client.plan(context="id").result()
