"""Limits: the most that one request may hold, and overload."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np

from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.tools.conformance.promises import Promises
from worldforge_jepa_client.tools.conformance.under_test import (
    BrokenPromiseError,
    NotApplicableError,
    ServerUnderTest,
    expect,
)
from worldforge_jepa_client.wire.status import from_rpc_error

PROMISES = Promises()
_MIB = 2**20
_LARGEST_TRIED = 256 * _MIB
_PLANS = 4  # more than a queue has room for, where each may fill half of it


async def _out_of_range(server: ServerUnderTest, request: Any, field: str) -> None:
    await server.refused("Score", request, "OUT_OF_RANGE", "LIMIT_EXCEEDED", field)


def _zeros(server: ServerUnderTest, samples: int, horizon: int) -> np.ndarray[Any, Any]:
    """Return candidates (1, S, H, A) of zeros; they go as float16, to stay below the limit of a message."""
    limit = server.spec.limits.max_message_bytes or 4 * _MIB
    if samples * horizon * server.spec.action_dim * 2 > min(limit, _LARGEST_TRIED) // 2:
        raise NotApplicableError(f"{samples} candidates of {horizon} actions do not fit a message")
    return np.zeros((1, samples, horizon, server.spec.action_dim), np.float16)


@PROMISES("Largest S.")
async def limit_samples(server: ServerUnderTest) -> None:
    """One candidate more than the limit is refused."""
    candidates = _zeros(server, server.spec.limits.max_samples + 1, 1)
    await _out_of_range(server, server.score_request(action_candidates=candidates), "action_candidates")


@PROMISES("Largest H.")
async def limit_horizon(server: ServerUnderTest) -> None:
    """One action more than the limit is refused."""
    candidates = _zeros(server, 1, server.spec.limits.max_horizon + 1)
    await _out_of_range(server, server.score_request(action_candidates=candidates), "action_candidates")


@PROMISES("Largest S x H: what the server's memory budget and its queue have room for. 0: unlimited.")
async def limit_candidate_steps(server: ServerUnderTest) -> None:
    """As many candidates as are allowed, of as many actions, are refused where together they are too many."""
    limits = server.spec.limits
    horizon = limits.max_horizon
    samples = limits.max_candidate_steps // horizon + 1
    if not limits.max_candidate_steps or samples > limits.max_samples:
        raise NotApplicableError("the limits on S and H leave no room for more than S x H")
    candidates = _zeros(server, samples, horizon)
    await _out_of_range(server, server.score_request(action_candidates=candidates), "action_candidates")


@PROMISES("Largest T.")
async def limit_context_frames(server: ServerUnderTest) -> None:
    """One frame more than the limit is refused."""
    frames = server.spec.limits.max_context_frames + 1
    request = server.score_request()
    for tensor in (request.context.observation.visual, request.context.observation.proprio):
        if tensor.shape:
            tensor.data = tensor.data[: len(tensor.data) // tensor.shape[1]] * frames
            tensor.shape[1] = frames
    await _out_of_range(server, request, "context.observation.visual")


@PROMISES("Largest serialized request, in bytes. gRPC itself refuses more, with RESOURCE_EXHAUSTED.")
async def limit_message_bytes(server: ServerUnderTest) -> None:
    """A request larger than the limit is refused, and not scored."""
    limit = server.spec.limits.max_message_bytes
    if not 0 < limit <= _LARGEST_TRIED:
        raise NotApplicableError(f"the limit is {limit} bytes")
    request = server.score_request()
    request.action_candidates.data = bytes(limit)
    await server.refused("Score", request, "RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")


@PROMISES("overload adds google.rpc.RetryInfo.")
async def limit_queue(server: ServerUnderTest) -> None:
    """Plans that together are more than the queue has room for are refused with a delay after which to retry."""
    limits = server.spec.limits
    samples = min(limits.max_candidate_steps // limits.max_horizon, limits.max_samples)
    if samples < 4 or samples * limits.max_horizon < limits.max_candidate_steps // 2:
        raise NotApplicableError("no plan is large enough to fill the queue")
    request = server.plan_request(horizon=limits.max_horizon, samples=samples, iterations=100)
    calls = [server.begin("Plan", request) for _ in range(_PLANS)]
    try:
        refusal = await _first_refusal(calls)
    finally:
        for call in calls:
            call.cancel()
    expect(refusal.reason == "QUEUE_FULL", f"a plan beyond the queue's room got {refusal.reason}: {refusal}")
    expect(refusal.retry_after, "the refusal has no RetryInfo")


async def _first_refusal(calls: list[Any]) -> JepaError:
    """Return the error of the first plan that is refused."""

    async def code(call: Any) -> Any:
        try:
            return await call.read()
        except grpc.RpcError as error:
            return from_rpc_error(error, "server")

    for answer in asyncio.as_completed([code(call) for call in calls]):
        refused = await answer
        if isinstance(refused, JepaError):
            return refused
    raise BrokenPromiseError(f"{len(calls)} plans were accepted that together are more than max_candidate_steps")
