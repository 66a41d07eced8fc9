"""Plans on the server: progress, seeds, options, and no work after a cancel."""

import asyncio

import grpc
import numpy as np
import pytest

from tests.in_process import DEADLINE, Stop, waiting
from tests.raw_stub import a_scene
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import PlanCall
from worldforge_jepa_client.planning import PlannerOptions


async def plan(raw_stub, **changes):
    options = PlannerOptions(horizon=2, samples=16, iterations=4, elites=4)
    call = PlanCall(**({"scene": a_scene(), "planner": options, "seed": 3} | changes))
    responses = raw_stub.stub.Plan(wire.plan_request(call), timeout=DEADLINE)
    return [wire.plan_progress(response) async for response in responses]


@pytest.mark.parametrize("method", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("on_device", [False, True])
async def test_a_plan_streams_each_iteration_and_repeats_by_seed(raw_stub, method, on_device):
    progress = await plan(raw_stub, method=method, on_device=on_device)
    assert [step.iteration for step in progress] == [1, 2, 3, 4]
    best = [step.best_score for step in progress]
    assert best == sorted(best, reverse=True)
    assert progress[-1].mean.shape == progress[-1].best_actions.shape == (2, 10)
    again = await plan(raw_stub, method=method, on_device=on_device)
    np.testing.assert_array_equal(again[-1].mean, progress[-1].mean)
    other = await plan(raw_stub, method=method, on_device=on_device, seed=4)
    assert not np.array_equal(other[-1].mean, progress[-1].mean)


async def test_a_plan_starts_from_the_mean_it_is_given(raw_stub):
    warm = np.full((2, 10), 0.5, np.float32)
    options = PlannerOptions(horizon=2, samples=16, iterations=1, elites=4, initial_std=0.0)
    np.testing.assert_allclose((await plan(raw_stub, planner=options, initial_mean=warm))[0].mean, warm)


async def test_wrong_planner_options_are_named(raw_stub):
    request = wire.plan_request(PlanCall(a_scene(), planner=PlannerOptions(temperature=1.0)))
    error = await raw_stub.refused(raw_stub.stub.Plan(request, timeout=DEADLINE).read())
    assert error.code.name == "INVALID_ARGUMENT"
    assert "temperature" in str(error)


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_after_a_cancel_or_the_deadline_no_further_step_is_computed(server, raw_stub, end):
    stop = Stop(server.model, after=5)
    options = PlannerOptions(horizon=4, samples=16, iterations=100, elites=4)
    request = wire.plan_request(PlanCall(a_scene(), planner=options))
    responses = raw_stub.stub.Plan(request, timeout=DEADLINE if end == "cancel" else 3.0)
    assert (await responses.read()).iteration == 1
    await stop.reached()
    if end == "cancel":
        responses.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.RpcError)):
        await responses.read()
    await waiting(server, 0)  # the server has heard of it
    stop.go_on()
    await raw_stub.score(a_scene())  # the device is free again, after at most the step it was in
    assert server.model.steps <= 5 + 1 + 2
