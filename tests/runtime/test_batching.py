"""Several requests in one call of the model: the same scores, each request's own errors, no more memory than allowed."""

import asyncio

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.device.score_jobs import measured, whole_slice
from tests.support.in_process import DEADLINE, CountingModel, Stop, running, waiting
from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.errors import InternalError, InvalidArgumentError, ResourceExhaustedError
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.device.encoding import Encoder
from worldforge_jepa_server.device.runner import LatentScores
from worldforge_jepa_server.models.native import tiny

H = 3
MODEL = tiny.load("cpu", "tiny")
ENCODER = Encoder(Cache(2**24, 1000.0))
CLOSE = {"rtol": 1e-4, "atol": 1e-6}  # batches of other sizes take other kernels


def encoded(place, frames=1):
    where = build_scene(
        repeated(scene(start=(10.0 + place, 20.0))["observation"], frames),
        scene(goal=(20.0, 20.0 + place))["goal"],
        np.full((1, frames - 1, 10), 0.1 * place) if frames > 1 else None,
    )
    return ENCODER.encode_scene(MODEL, where)


def repeated(frame, frames):
    return {name: np.stack([part] * frames) for name, part in frame.items()}


Request = st.tuples(
    st.integers(1, 5),  # candidates
    st.integers(0, 2),  # place
    st.sampled_from(["l2", "l1", "cosine"]),
    st.sampled_from([0.0, 0.3]),
)


@settings(max_examples=15)
@given(st.lists(Request, min_size=1, max_size=4), st.integers(1, 2), st.integers(1, 12))
def test_batched_scores_equal_single_scores(requests, frames, chunk):
    alone, slices, runner = [], [], LatentScores(MODEL, MODEL.spec, chunk)
    for seed, (samples, place, objective, weight) in enumerate(requests):
        options = ScoreOptions(Objective(objective), weight, actions_are_normalized=False)
        arguments = (encoded(place, frames), candidates(samples, H, seed)[0], options)
        alone.append(measured(MODEL, *arguments))
        slices.append(whole_slice(runner, *arguments))
    torch.testing.assert_close(runner.measure(slices), torch.cat(alone), **CLOSE)


def test_frames_outside_the_context_window_are_not_encoded():
    model = CountingModel()
    where = build_scene(repeated(scene()["observation"], 5), scene()["goal"], np.arange(40.0).reshape(1, 4, 10))
    kept = Encoder(Cache(0, 0.0)).encode_scene(model, where)
    assert kept.frames == MODEL.spec.context_window == 2
    np.testing.assert_array_equal(kept.action_history, where.action_history[:, -1:])


async def together(server, client, calls):
    """Return the results of calls that wait together behind another, and the model's steps for them."""
    stop = Stop(server.model)
    first = asyncio.create_task(client.score(**scene(), **raw_candidates(1, 1)))
    await stop.reached()
    tasks = [asyncio.create_task(call) for call in calls]
    await waiting(server, 1 + len(tasks))
    before = server.model.steps
    stop.go_on()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    await first
    return ends, server.model.steps - before - 1


def asked(seed, **more):
    return scene(start=(10.0 + seed, 20.0)) | raw_candidates(4, H, seed) | more


async def test_requests_that_wait_share_one_call_whatever_their_scenes_and_objectives(server, client):
    wanted = [asked(0), asked(1, objective="l1"), asked(2, proprio_weight=0.0), asked(3), asked(3)]
    alone = [(await client.score(**each)).scores for each in wanted]
    ends, steps = await together(server, client, [client.score(**each) for each in wanted])
    for end, expected in zip(ends, alone, strict=True):
        np.testing.assert_allclose(end.scores, expected, **CLOSE)
    assert steps == H


async def test_without_batching_each_request_has_a_call_of_its_own():
    async with running(batching=False) as server, AsyncClient(server.target, timeout=DEADLINE) as client:
        _, steps = await together(server, client, [client.score(**asked(seed)) for seed in range(3)])
        assert steps == 3 * H


async def test_different_horizons_or_frame_counts_are_not_batched(server, client):
    longer = asked(1) | raw_candidates(4, H + 1)
    two = asked(2, observation=repeated(scene()["observation"], 2), action_history=np.zeros((1, 10)))
    _, steps = await together(server, client, [client.score(**each) for each in (asked(0), longer, two)])
    assert steps == 3 * H + 1


async def test_a_small_call_beside_a_huge_one_waits_for_one_piece():
    async with running(chunk_size=10) as server, AsyncClient(server.target, timeout=DEADLINE) as client:
        ran, inner = [], server.model._model.unroll

        def noted(latents, actions, history):
            ran.append(actions.shape[1])
            return inner(latents, actions, history)

        async with client.session(**scene()) as session:
            server.model._model.unroll, stop = noted, Stop(server.model)
            huge = asyncio.create_task(client.score(**scene(), **raw_candidates(45, H)))
            await stop.reached()
            small = asyncio.create_task(session.score(candidates(3, H)))
            await waiting(server, 2)
            stop.go_on()
            assert len((await small).scores) == 3
            assert len((await huge).scores) == 45
        assert ran == [10, 3, 10, 10, 10, 5]


async def test_plans_on_the_server_share_calls_with_scores(server, client):
    options = {"horizon": H, "samples": 8, "iterations": 1, "elites": 2}
    where = scene()
    alone = await client.plan(**where, **options).result()
    (plan, scored), steps = await together(
        server, client, [client.plan(**where, **options).result(), client.score(**asked(1))]
    )
    np.testing.assert_allclose(plan.actions, alone.actions, **CLOSE)
    assert len(scored.scores) == 4
    assert steps == H


async def test_a_context_without_the_goals_proprio_is_refused_before_it_waits_for_the_device(server, client):
    without_proprio = asked(1) | {"goal": scene()["goal"]["visual"]}
    context = await client.create_context(observation=without_proprio["observation"], goal=without_proprio["goal"])
    stop = Stop(server.model)
    running_call = asyncio.create_task(client.score(**asked(0)))
    await stop.reached()
    with pytest.raises(InvalidArgumentError) as refused:
        await client.score(context=context, **raw_candidates(4, H))
    assert refused.value.field == "context.goal.proprio"
    stop.go_on()
    assert np.isfinite((await running_call).scores).all()


async def test_a_batch_that_the_model_refuses_is_retried_one_by_one(server, client):
    inner = server.model._model.unroll

    def single_minded(latents, *rest):
        if len(latents.visual) > 1:
            raise ValueError("one scene at a time")
        return inner(latents, *rest)

    server.model._model.unroll = single_minded
    alone = (await client.score(**asked(0))).scores
    ends, _ = await together(server, client, [client.score(**asked(seed)) for seed in range(3)])
    np.testing.assert_array_equal(ends[0].scores, alone)
    assert all(np.isfinite(end.scores).all() for end in ends)


async def test_nan_scores_fail_only_their_own_job(server, client):
    inner = server.model._model.unroll

    def poisoned(latents, actions, history):
        for predicted in inner(latents, actions, history):
            predicted.visual[actions[0, :, 0] > 50] = torch.nan
            yield predicted

    server.model._model.unroll = poisoned
    wild = asked(1)
    wild["action_candidates"] = wild["action_candidates"] + 1000
    (good, bad), _ = await together(server, client, [client.score(**asked(0)), client.score(**wild)])
    assert np.isfinite(good.scores).all()
    assert isinstance(bad, InternalError)
    assert bad.reason == "NON_FINITE_SCORES"


@pytest.mark.parametrize("leaving", [1, 2])
async def test_a_batch_continues_when_one_of_its_calls_is_cancelled(server, client, leaving):
    queue = Stop(server.model)
    first = asyncio.create_task(client.score(**scene(), **raw_candidates(1, 1)))
    await queue.reached()
    tasks = [asyncio.create_task(client.score(**asked(seed))) for seed in range(2)]
    await waiting(server, 3)
    shared = Stop(server.model)
    queue.go_on()
    await shared.reached()
    for task in tasks[:leaving]:
        task.cancel()
    await waiting(server, 2 - leaving)
    before = server.model.steps
    shared.go_on()
    ends = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ends] == [False] + [n < leaving for n in range(2)]
    await client.score(**scene(), **raw_candidates(1, 1))
    assert server.model.steps - before == (H if leaving == 1 else 1) + 1


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("DefaultCPUAllocator: no")]
)
async def test_out_of_memory_halves_the_chunk_size(server, client, error):
    inner = server.model._model.unroll

    def tight(latents, actions, history):
        if actions.shape[1] > room:
            raise error
        return inner(latents, actions, history)

    expected = (await client.score(**asked(0) | raw_candidates(8, H))).scores
    server.model._model.unroll, room = tight, 4
    for _ in range(2):
        np.testing.assert_allclose((await client.score(**asked(0) | raw_candidates(8, H))).scores, expected, **CLOSE)
    room = 1
    with pytest.raises(ResourceExhaustedError) as caught:
        await client.score(**asked(0) | raw_candidates(8, H))
    assert caught.value.reason == "OUT_OF_MEMORY"
    room = 100
    np.testing.assert_allclose((await client.score(**asked(0) | raw_candidates(8, H))).scores, expected, **CLOSE)
