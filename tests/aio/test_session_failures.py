"""Sessions when servers go, requests run out of time and sessions end: errors at once, and no score of another scene."""

import time

import pytest

from tests.aio.support import blocking
from tests.support.results import assert_same
from tests.support.scenes import LONG, LONG_LOG, RAW, candidates, scene
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import CallCancelledError, DeadlineExceededError, UnavailableError

DEADLINE = 60


async def test_a_session_survives_a_restart_of_the_server(start_server):
    first = start_server()
    async with AsyncClient(first.target, timeout=DEADLINE) as client, client.session(**scene(), **RAW) as session:
        before = await session.score(candidates())
        await session.set_goal(scene(goal=(20.0, 40.0))["goal"])
        moved = await session.score(candidates())
        first.kill()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=first.target):
            await session.score(candidates())
        assert time.monotonic() - began < 5
        assert session.reconnects == 0
        second = start_server("--log-level", "debug", listen=first.target)
        await client.wait_ready(DEADLINE)
        assert_same(await session.score(candidates()), moved)
        assert session.reconnects == 1
        await session.set_goal(scene()["goal"])
        assert_same(await session.score(candidates()), before)
        assert session.reconnects == 1
        doomed = await session.submit(candidates(**LONG))
        await blocking(second.wait_logged, LONG_LOG)
        second.kill()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=first.target):
            await doomed.result()
        assert time.monotonic() - began < 5


async def test_without_a_server_a_session_is_an_error_at_once():
    async with AsyncClient("127.0.0.1:1", timeout=DEADLINE) as client:
        with pytest.raises(UnavailableError):
            async with client.session(**scene()):
                pass


async def test_a_request_out_of_time_frees_the_device_and_the_session_goes_on(start_server):
    server = start_server()
    async with AsyncClient(server.target, timeout=DEADLINE) as client, client.session(**scene(), **RAW) as session:
        good = await session.score(candidates())
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await session.score(candidates(**LONG), timeout=1.0)
        assert 1.0 <= time.monotonic() - began < 5
        assert_same(await session.score(candidates()), good)
        slow = await session.submit(candidates(**LONG))
        behind = await session.submit(candidates())
        slow.cancel()
        with pytest.raises(CallCancelledError):
            await slow.result()
        assert_same(await behind.result(), good)
        assert time.monotonic() - began < 30


async def test_a_silent_server_times_out_at_the_deadline(silent_target, client):
    async with AsyncClient(silent_target, timeout=0.3) as deaf:
        deaf._specs[""] = await client.model()
        async with deaf.session(**scene()) as session:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(DeadlineExceededError):
                    await session.score(candidates())
                assert time.monotonic() - began < 5


async def test_a_closed_session_raises_an_error_that_says_so(client):
    session = client.session(**scene(), **RAW)
    await session.score(candidates())
    await session.close()
    await session.close()
    with pytest.raises(CallCancelledError) as caught:
        await session.score(candidates())
    assert caught.value.reason == "SESSION_CLOSED"
