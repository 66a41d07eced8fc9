"""Sessions on a real server: the same scores as by unary calls, whatever changes in between."""

import time

import numpy as np
import pytest

from tests.aio.support import together
from tests.support.results import assert_same
from tests.support.scenes import RAW, candidates, raw_candidates, scene
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import InvalidArgumentError

DEADLINE = 60


@pytest.mark.parametrize("model", ["", "other"])
@pytest.mark.parametrize("objective", ["l2", "cosine"])
async def test_unary_context_and_stream_score_the_same_bit_by_bit(client, model, objective):
    how = RAW | {"objective": objective, "proprio_weight": 0.25}
    context = await client.create_context(**scene(), model=model)
    assert context.expires_at > time.time()
    async with client.session(**scene(), model=model, **how) as session:
        for seed in range(3):
            expected = await client.score(**scene(), action_candidates=candidates(seed=seed), model=model, **how)
            assert_same(await client.score(context=context, action_candidates=candidates(seed=seed), **how), expected)
            assert_same(
                await client.score(context=context.id, action_candidates=candidates(seed=seed), **how), expected
            )
            assert_same(await session.score(candidates(seed=seed)), expected)
        assert session.reconnects == 0


async def test_answers_keep_their_order_when_requests_run_ahead(client):
    expected = [await client.score(**scene(), **raw_candidates(seed=seed, samples=seed % 5 + 1)) for seed in range(80)]
    async with client.session(**scene(), **RAW) as session:
        pending = [await session.submit(candidates(seed=seed, samples=seed % 5 + 1)) for seed in range(80)]
        for one, wanted in zip(pending, expected, strict=True):
            assert_same(await one.result(), wanted)
            assert one.done()


async def test_concurrent_tasks_share_a_session(client):
    expected = [await client.score(**scene(), **raw_candidates(seed=seed)) for seed in range(40)]
    async with client.session(**scene(), **RAW) as session:
        results = await together(lambda seed: session.score(candidates(seed=seed)), range(40))
    for got, wanted in zip(results, expected, strict=True):
        assert_same(got, wanted)


async def test_the_scene_changes_in_mid_stream(client):
    frame = scene(start=(40.0, 12.0))["observation"]
    frames = {name: np.stack([array, array]) for name, array in frame.items()}
    history = np.ones((1, 10), np.float32)
    goal = scene(goal=(20.0, 40.0))["goal"]
    async with client.session(**scene(), **RAW) as session:
        await session.score(candidates())
        await session.set_goal(goal)
        assert_same(
            await session.score(candidates()),
            await client.score(observation=scene()["observation"], goal=goal, **raw_candidates()),
        )
        await session.observe(frames, history)
        ahead = [await session.submit(candidates(seed=seed)) for seed in range(3)]
        await session.observe(frame)
        after = await session.submit(candidates())
        for seed, pending in enumerate(ahead):
            wanted = await client.score(
                observation=frames, goal=goal, action_history=history, **raw_candidates(seed=seed)
            )
            assert_same(await pending.result(), wanted)
        assert_same(await after.result(), await client.score(observation=frame, goal=goal, **raw_candidates()))


async def test_buffers_can_be_reused_after_submit(client):
    mine, actions = scene(), candidates(samples=64, horizon=8)
    expected = await client.score(**mine, action_candidates=actions, **RAW)
    async with client.session(**mine, **RAW) as session:
        mine["observation"]["visual"][:] = 0
        mine["goal"]["proprio"][:] = 0
        ahead = [await session.submit(actions) for _ in range(3)]
        actions[:] = 0
        ahead[0].cancel()  # the others are sent again
        for pending in ahead[1:]:
            assert_same(await pending.result(), expected)


async def test_each_request_of_a_session_can_set_its_own_options(client):
    async with client.session(**scene(), **RAW, objective="l1") as session:
        first = await session.score(candidates())
        assert_same(
            await session.score(candidates(), objective="cosine"),
            await client.score(**scene(), **raw_candidates(), objective="cosine"),
        )
        normalized = await client.score(**scene(), action_candidates=candidates(), objective="l1")
        assert_same(await session.score(candidates(), actions_are_normalized=True), normalized)
        assert_same(await session.score(candidates()), first)


async def test_an_argument_that_does_not_fit_is_refused_before_it_is_sent_and_changes_nothing(client):
    bad = {"observation": scene()["observation"], "goal": np.zeros((4, 8, 8), np.uint8)}
    with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
        async with client.session(**bad):
            pass
    with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
        await client.session(**bad).score(candidates())
    async with client.session(**scene(), **RAW) as session:
        good = await session.score(candidates())
        with pytest.raises(InvalidArgumentError, match="action_candidates"):
            await session.score(candidates()[..., :9])
        with pytest.raises(InvalidArgumentError, match=r"context\.action_history"):
            await session.observe(scene()["observation"], np.zeros((1, 10)))
        with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
            await session.set_goal(np.zeros((1, 1, 4, 8, 8), np.uint8))
        with pytest.raises(TypeError, match="objektive"):
            await session.score(candidates(), objektive="l1")
        assert_same(await session.score(candidates()), good)
        assert session.reconnects == 0


async def test_a_refusal_by_the_server_leaves_the_session_alive(client, server):
    limit = (await client.model()).limits
    async with AsyncClient(server.target, timeout=DEADLINE) as trusting, trusting.session(**scene(), **RAW) as session:
        good = await session.score(candidates())
        spec = trusting._specs[""]
        object.__setattr__(spec, "limits", type(limit)(10**6, 10**6, 10**6))
        object.__setattr__(spec.visual, "shape", (1, -1, -1, -1, -1))
        with pytest.raises(Exception, match="the limit is") as caught:
            await session.score(candidates(samples=1, horizon=limit.max_horizon + 1))
        assert caught.value.field == "action_candidates"
        await session.set_goal({"visual": np.zeros((4, 8, 8), np.uint8), "proprio": scene()["goal"]["proprio"]})
        with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
            await session.score(candidates())
        await session.set_goal(scene()["goal"])
        assert_same(await session.score(candidates()), good)
        assert session.reconnects == 0
