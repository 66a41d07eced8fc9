"""Plans on the server: progress, seeds, options, and no work after a cancel."""

import asyncio
import contextlib

import grpc
import numpy as np
import pytest

from tests.support.in_process import DEADLINE, Stop, running, waiting
from tests.support.raw_stub import RawStub, a_scene
from tests.support.scenes import scene
from worldforge_jepa_client import AsyncClient, wire
from worldforge_jepa_client.contract.types import PlanCall
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.v1 import jepa_pb2_grpc
from worldforge_jepa_server.scheduling.engine import LEAST_COST


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


ENDLESS = PlannerOptions(horizon=64, samples=2, iterations=10_000, elites=2)  # 5 KB an answer
NARROW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]


@contextlib.asynccontextmanager
async def unread(server):
    """Ask for an endless plan, and read none of its answers until flow control stops the server."""
    async with grpc.aio.insecure_channel(server.target, NARROW) as channel:
        request = wire.plan_request(PlanCall(a_scene(), planner=ENDLESS))
        responses = jepa_pb2_grpc.WorldModelServiceStub(channel).Plan(request, timeout=DEADLINE)
        await responses.initial_metadata()
        await settled(server)
        yield
        assert not responses.done()
        responses.cancel()


async def test_a_plan_that_is_not_read_leaves_the_queue_to_others():
    async with running(queue_size=LEAST_COST) as server, RawStub(server) as raw_stub, unread(server):
        assert len(await raw_stub.score(a_scene())) == 4


async def test_a_plan_that_is_not_read_is_computed_no_further(server):
    async with unread(server):
        assert server.model.steps < ENDLESS.horizon * 1_000


@pytest.mark.parametrize("iterations", [10_001, 2**62])
async def test_more_iterations_than_the_limit_are_refused_before_anything_runs(server, raw_stub, iterations):
    options = PlannerOptions(horizon=2, samples=16, iterations=iterations, elites=4)
    request = wire.plan_request(PlanCall(a_scene(), planner=options))
    error = await raw_stub.refused(raw_stub.stub.Plan(request, timeout=DEADLINE).read())
    assert (error.code.name, error.field) == ("OUT_OF_RANGE", "planner.iterations")
    assert server.model.encoded == server.model.steps == 0


async def test_more_bounds_than_any_action_has_entries_are_refused_without_printing_them(raw_stub):
    request = wire.plan_request(PlanCall(a_scene()))
    request.planner.low.extend([-1.0] * 1_000_000)
    error = await raw_stub.refused(raw_stub.stub.Plan(request, timeout=DEADLINE).read())
    assert (error.code.name, error.field) == ("OUT_OF_RANGE", "planner.low")
    assert len(str(error)) < 200


async def test_an_initial_mean_is_not_printed_whole(raw_stub):
    options = PlannerOptions(horizon=32, samples=16, iterations=1, elites=4)
    broken = np.full((32, 10), np.nan, np.float32)
    request = wire.plan_request(PlanCall(a_scene(), planner=options))
    wire.tensors.encode(broken, request.initial_mean)
    error = await raw_stub.refused(raw_stub.stub.Plan(request, timeout=DEADLINE).read())
    assert "initial_mean" in str(error)
    assert len(str(error)) < 300


async def settled(server):
    """Return once the device has had nothing to do for a while: only a client that reads would give it more."""
    quiet = 0
    while quiet < 20:
        quiet = 0 if server.engine.pending else quiet + 1
        await asyncio.sleep(0.02)


async def test_a_plan_ends_at_the_servers_bound_with_the_best_so_far():
    async with running(plan_seconds=1.0) as server, AsyncClient(server.target, timeout=DEADLINE) as client:
        plan = client.plan(**scene(), horizon=2, samples=16, iterations=10_000, elites=4)
        iterations = (await plan.result()).iterations
    assert 0 < iterations < 10_000
