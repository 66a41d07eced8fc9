"""Tasks and event loops of the client for asyncio: cancelling, sharing, and the loop that it belongs to."""

import asyncio
import gc
from contextlib import closing

import pytest

from tests.support.in_process import DEADLINE, Stop, running, waiting
from tests.support.results import assert_same
from tests.support.scenes import RAW, candidates, raw_candidates, scene
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import CallCancelledError, DeadlineExceededError, FailedPreconditionError

H = 3
ENDLESS = {"horizon": 2, "samples": 8, "iterations": 10_000, "elites": 4}


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


@pytest.mark.parametrize("end", ["deadline", "cancel", "cancel the task"])
async def test_a_cancelled_request_computes_nothing_further(end):
    async with (
        running() as server,
        AsyncClient(server.target, timeout=DEADLINE) as client,
        client.session(**scene(), **RAW) as session,
    ):
        good = await session.score(candidates())
        server.model.steps, stop = 0, Stop(server.model, after=2)
        doomed = await session.submit(candidates(horizon=30), timeout=2.0 if end == "deadline" else DEADLINE)
        result = asyncio.create_task(doomed.result())
        await stop.reached()
        if end == "cancel":
            doomed.cancel()
        elif end == "cancel the task":
            result.cancel()
        errors = {"deadline": DeadlineExceededError, "cancel": CallCancelledError}
        with pytest.raises(errors.get(end, asyncio.CancelledError)):
            await result
        await waiting(server, 0)  # the server has heard of it
        again = await session.submit(candidates())
        stop.go_on()
        assert_same(await again.result(), good)
        assert server.model.steps <= 2 + 1 + 2
        assert session.reconnects == 1


@pytest.mark.parametrize("end", ["cancel", "cancel the task"])
async def test_a_cancelled_plan_returns_the_best_so_far_and_stops_computing(end):
    async with running() as server, AsyncClient(server.target, timeout=DEADLINE) as client:
        stream = client.plan(**scene(), **ENDLESS)
        assert (await anext(stream)).iteration == 1
        stop = Stop(server.model)
        await stop.reached()
        if end == "cancel":
            stream.cancel()
        else:
            result = asyncio.create_task(stream.result())
            await asyncio.sleep(0)
            result.cancel()
            with pytest.raises(asyncio.CancelledError):
                await result
        plan = await stream.result()
        assert plan.iterations >= 1
        assert not plan.complete
        await waiting(server, 0)  # the server has heard of it
        computed = server.model.steps
        stop.go_on()
        await client.score(**scene(), **raw_candidates(horizon=H))
        assert server.model.steps <= computed + 1 + H  # at most the step it was in


def test_a_client_made_outside_a_loop_works_in_the_first_one_and_names_the_second(server):
    client = AsyncClient(server.target, timeout=DEADLINE)

    async def score():
        return await client.score(**scene(), **raw_candidates())

    async def score_and_close():
        async with client:
            return await score()

    with closing(asyncio.new_event_loop()) as first, closing(asyncio.new_event_loop()) as second:
        good = first.run_until_complete(score())
        with pytest.raises(FailedPreconditionError, match="another event loop") as caught:
            second.run_until_complete(score())
        assert caught.value.reason == "OTHER_EVENT_LOOP"
        assert_same(first.run_until_complete(score_and_close()), good)


async def test_a_dropped_session_leaves_no_stream(server):
    async def calls_end(client):
        while client._connection._calls:  # noqa: ASYNC110 - the calls have no event to wait for
            await asyncio.sleep(0.01)

    async with AsyncClient(server.target, timeout=DEADLINE) as client:
        await client.session(**scene(), **RAW).score(candidates())
        gc.collect()
        await asyncio.wait_for(calls_end(client), DEADLINE)
