"""Sessions for asyncio: what sessions do, with `await`."""

import asyncio

import numpy as np
import pytest

from tests.in_process import DEADLINE, Stop, running, waiting
from tests.results import assert_same
from tests.scenes import RAW, candidates, raw_candidates, scene
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import (
    CallCancelledError,
    DeadlineExceededError,
    InvalidArgumentError,
    UnavailableError,
)


async def test_the_async_session_is_the_same_session(server, client):
    expected = [client.score(**scene(), **raw_candidates(seed=seed)) for seed in range(50)]
    async with AsyncClient(server.target, timeout=DEADLINE) as other:
        context = await other.create_context(**scene())
        assert_same(await other.score(context=context, **raw_candidates()), expected[0])
        await other.delete_context(context)
        async with other.session(**scene(), **RAW) as session:
            assert_same(await session.score(candidates()), expected[0])
            with pytest.raises(InvalidArgumentError, match="action_candidates"):
                await session.score(candidates()[..., :9])
            ahead = [await session.submit(candidates(seed=seed)) for seed in range(50)]
            for pending, wanted in zip(ahead, expected, strict=True):
                assert_same(await pending, wanted)
            goal, frame = scene(goal=(20.0, 40.0))["goal"], scene(start=(40.0, 12.0))["observation"]
            await session.set_goal(goal)
            await session.observe(frame)
            assert_same(
                await session.score(candidates()), client.score(observation=frame, goal=goal, **raw_candidates())
            )
            assert session.reconnects == 0
        with pytest.raises(CallCancelledError):
            await session.score(candidates())


async def test_a_hundred_sessions_at_once_each_get_their_own_scores():
    def own(seed):
        return scene(start=(10.0 + seed / 10, 20.0))

    async with running() as server, AsyncClient(server.target, timeout=DEADLINE) as client:
        expected = [await client.score(**own(seed), **raw_candidates(seed=seed)) for seed in range(100)]
        encoded = server.model.encoded

        async def work(seed):
            async with client.session(**own(seed), **RAW) as session:
                return [await session.score(candidates(seed=seed)) for _ in range(3)]

        for results, wanted in zip(await asyncio.gather(*map(work, range(100))), expected, strict=True):
            for result in results:
                assert_same(result, wanted)
        assert server.model.encoded == encoded  # the content was known


async def test_the_async_session_checks_its_scene_on_entering(server):
    async with AsyncClient(server.target, timeout=DEADLINE) as client:
        with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
            async with client.session(observation=scene()["observation"], goal=np.zeros((4, 8, 8), np.uint8)):
                pass


@pytest.mark.parametrize("end", ["deadline", "cancel"])
async def test_an_async_request_given_up_computes_nothing_further(end):
    async with (
        running() as server,
        AsyncClient(server.target, timeout=DEADLINE) as client,
        client.session(**scene(), **RAW) as session,
    ):
        good = await session.score(candidates())
        server.model.steps, stop = 0, Stop(server.model, after=2)
        doomed = await session.submit(candidates(horizon=30), timeout=DEADLINE if end == "cancel" else 2.0)
        await stop.reached()
        if end == "cancel":
            doomed.cancel()
        with pytest.raises(asyncio.CancelledError if end == "cancel" else DeadlineExceededError):
            await doomed
        await waiting(server, 0)  # the server has heard of it
        again = await session.submit(candidates())
        stop.go_on()
        assert_same(await again, good)
        assert server.model.steps <= 2 + 1 + 2
        assert session.reconnects == 1


async def test_an_async_session_survives_a_restart_of_the_server(start_server):
    first = await asyncio.to_thread(start_server)
    async with AsyncClient(first.target, timeout=DEADLINE) as client, client.session(**scene(), **RAW) as session:
        before = await session.score(candidates())
        first.kill()
        with pytest.raises(UnavailableError, match=first.target):
            await session.score(candidates())
        await asyncio.to_thread(start_server, listen=first.target)
        await client.wait_ready(DEADLINE)
        assert_same(await session.score(candidates()), before)
        assert session.reconnects == 1
