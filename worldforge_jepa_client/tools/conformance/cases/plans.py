"""Plan: progress, seeds, options, and a device that is free after a cancel."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import grpc
import numpy as np

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.tools.conformance.promises import Promises
from worldforge_jepa_client.tools.conformance.under_test import (
    NotApplicableError,
    ServerUnderTest,
    expect,
)

PROMISES = Promises()
_ENDLESS = 10_000  # iterations, the most that a plan may have
_LARGE = 128  # candidates of an iteration that takes long enough to be noticed
_CALLS = 7


@PROMISES("samples, scores and refits on the server, and streams each iteration's best plan so far.")
async def plan_progress(server: ServerUnderTest) -> None:
    """A plan answers once for each iteration, with a best score that never gets worse."""
    progress = [wire.plan_progress(each) for each in await server.call("Plan", server.plan_request())]
    numbers = [(step.iteration, step.iterations) for step in progress]
    expect(numbers == [(1, 3), (2, 3), (3, 3)], f"the iterations are {numbers}; expected 1 to 3 of 3")
    shapes = {array.shape for step in progress for array in (step.mean, step.best_actions)}
    expected = (server.horizon, server.spec.action_dim)
    expect(shapes == {expected}, f"mean and best_actions have shapes {shapes}; expected {expected}")
    best = [step.best_score for step in progress]
    better = best == sorted(best, reverse=True) or (server.spec.reads_extra_info and best == sorted(best))
    expect(better, f"the best scores so far are {best}; expected none worse than the one before")


@PROMISES("Equal seeds give equal plans on the same server and device.")
async def plan_seed(server: ServerUnderTest) -> None:
    """A request that is repeated has the same plan, one with another seed another."""
    request = server.plan_request()
    first, again = [(await server.call("Plan", request))[-1].mean.data for _ in range(2)]
    expect(first == again, "the same request and seed gave another plan")
    request.seed += 1
    other = (await server.call("Plan", request))[-1].mean.data
    expect(first != other, "another seed gave the same plan")


@PROMISES("The mean to start from, (H, A), in the model's normalized units. Unset: zeros.")
async def plan_initial_mean(server: ServerUnderTest) -> None:
    """Without deviation the plan is the mean that it was given."""
    mean = np.full((server.horizon, server.spec.action_dim), 0.5, np.float32)
    request = server.plan_request(iterations=1, initial_std=0.0)
    wire.tensors.encode(mean, request.initial_mean)
    got = wire.plan_progress((await server.call("Plan", request))[-1]).mean
    expect(np.allclose(got, mean), f"the plan is {got}; expected 0.5 everywhere")


@PROMISES("Bounds of each action dim, A values or one. Empty: unbounded.")
async def plan_bounds(server: ServerUnderTest) -> None:
    """No action of a plan is out of the bounds that it was given."""
    request = server.plan_request(low=-0.25, high=0.25)
    best = [wire.plan_progress(each).best_actions for each in await server.call("Plan", request)]
    most = max(float(np.abs(actions).max()) for actions in best)
    expect(most <= 0.2501, f"an action is {most:g} from 0; expected at most 0.25")


@PROMISES("At most 10,000. Unset: 30.")
async def plan_iterations(server: ServerUnderTest) -> None:
    """More iterations than the limit are refused before anything runs."""
    request = server.plan_request(iterations=_ENDLESS + 1)
    await server.refused("Plan", request, "OUT_OF_RANGE", "LIMIT_EXCEEDED", "planner.iterations")


@PROMISES("MPPI: in units of the score. Unset: 1.")
async def plan_options(server: ServerUnderTest) -> None:
    """An option of another method is refused."""
    request = server.plan_request(temperature=1.0)
    await server.refused("Plan", request, "INVALID_ARGUMENT", "INVALID_PLANNER", "planner")


@PROMISES("Plan refuses false where there is no action history.")
async def plan_raw_units(server: ServerUnderTest) -> None:
    """A plan in raw units is refused where no action is raw."""
    if server.spec.normalization is None:
        raise NotApplicableError("the model has no statistics")
    request = server.plan_request()
    wire.encode_options(ScoreOptions(actions_are_normalized=False), request.options)
    field = "options.actions_are_normalized"
    await server.refused("Plan", request, "INVALID_ARGUMENT", "UNEXPECTED_FIELD", field)


@PROMISES("their headers come when the server accepts the call, before the first message of either side.")
async def plan_early_headers(server: ServerUnderTest) -> None:
    """Plan's headers come while the model is at work."""
    await server.early_headers("Plan", _large(server, 1, 8 * _LARGE))


@PROMISES("After a cancel or the deadline the device is free within one predicted step.")
async def plan_cancel(server: ServerUnderTest) -> None:
    """After a cancel no score waits for the plan."""
    iteration_us, _ = await _iteration(server)
    call = server.begin("Plan", _large(server, _ENDLESS))
    expect(await call.read() is not grpc.aio.EOF, "the plan ended before its first response")
    call.cancel()
    await _device_is_free(server, iteration_us)


@PROMISES("After a cancel or the deadline the device is free")
async def plan_deadline(server: ServerUnderTest) -> None:
    """A plan ends with DEADLINE_EXCEEDED at its deadline, and no score waits for it afterwards."""
    iteration_us, seconds = await _iteration(server)
    call = server.begin("Plan", _large(server, _ENDLESS), timeout=2 * seconds)
    code = await call.code()
    expect(code is grpc.StatusCode.DEADLINE_EXCEEDED, f"the plan ended with {code}; expected DEADLINE_EXCEEDED")
    await _device_is_free(server, iteration_us)


@PROMISES("Whatever ends the call, the last response stands.")
async def plan_last_response(server: ServerUnderTest) -> None:
    """A plan that is cancelled has answered as the same plan does without a cancel."""
    request = server.plan_request(iterations=2)
    whole = await server.call("Plan", request)
    call = server.begin("Plan", request)
    first = await call.read()
    call.cancel()
    expect(first.best_actions == whole[0].best_actions, "the first response of a cancelled plan is another")


def _large(server: ServerUnderTest, iterations: int, samples: int = _LARGE) -> Any:
    """Return a plan whose iterations take long enough to be noticed."""
    limits = server.spec.limits
    samples, horizon = min(samples, limits.max_samples), min(6, limits.max_horizon)
    return server.plan_request(horizon=horizon, samples=samples, iterations=iterations)


async def _iteration(server: ServerUnderTest) -> tuple[int, float]:
    """Measure a large plan: microseconds of the server for its second iteration, seconds of both."""
    began = time.perf_counter()
    timing = (await server.call("Plan", _large(server, 2)))[-1].timing
    return timing.total_us - timing.queue_us, time.perf_counter() - began


async def _device_is_free(server: ServerUnderTest, iteration_us: int) -> None:
    """Expect that scores wait a fraction of a plan's iteration; the first may wait for its end."""
    request = server.score_request(action_candidates=server.candidates(1, 1))
    waits = [(await server.call("Score", request)).timing.queue_us for _ in range(_CALLS)][1:]
    wait = median(waits)
    expect(
        wait < iteration_us / 8, f"scores wait {wait} us after the plan's end; its iterations take {iteration_us} us"
    )
