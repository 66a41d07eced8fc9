"""Plans to protobuf messages and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.types import (
    PlanCall,
    PlanProgress,
)
from worldforge_jepa_client.errors import OutOfRangeError, invalid
from worldforge_jepa_client.planning import Method, PlannerOptions
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors
from worldforge_jepa_client.wire.scoring import (
    decode_options,
    decode_scene_field,
    decode_tensor,
    encode_options,
    encode_scene_field,
    timing,
    timing_message,
)

_METHODS: dict[Method, Any] = {
    "cem": jepa_pb2.PLAN_METHOD_CEM,
    "icem": jepa_pb2.PLAN_METHOD_ICEM,
    "mppi": jepa_pb2.PLAN_METHOD_MPPI,
}


_METHOD_NAMES: dict[int, Method] = {jepa_pb2.PLAN_METHOD_UNSPECIFIED: "cem"} | {
    code: name for name, code in _METHODS.items()
}


_OPTIONS = tuple(item.name for item in fields(PlannerOptions))
_PER_DIM = tuple(name for name in _OPTIONS if hasattr(getattr(jepa_pb2.PlannerOptions(), name), "extend"))
_MAX_ACTION_DIM = 65_536
_SCALARS = tuple(name for name in _OPTIONS if name not in _PER_DIM)


def plan_request(call: PlanCall) -> jepa_pb2.PlanRequest:
    """Encode a request for a plan.

    Raises:
        InvalidArgumentError: an unknown method.
    """
    if call.method not in _METHODS:
        raise invalid("method", f"is {call.method!r}; expected one of {', '.join(_METHODS)}", Reason.INVALID_PLANNER)
    request = jepa_pb2.PlanRequest(
        model=call.model, method=_METHODS[call.method], seed=call.seed, on_device=call.on_device
    )
    encode_scene_field(call.scene, request)
    encode_options(call.options, request.options)
    for name in _SCALARS:
        value = getattr(call.planner, name)
        if value is not None:
            setattr(request.planner, name, value)
    for name in _PER_DIM:
        value = getattr(call.planner, name)
        if value is not None:
            getattr(request.planner, name).extend(np.atleast_1d(np.asarray(value, np.float32)).tolist())
    if call.initial_mean is not None:
        tensors.encode(call.initial_mean, request.initial_mean, field="initial_mean")
    return request


def plan_call(request: jepa_pb2.PlanRequest) -> PlanCall:
    """Decode a request for a plan.

    Raises:
        InvalidArgumentError: an unknown method, or a malformed tensor.
        OutOfRangeError: an option has too many values.
    """
    if request.method not in _METHOD_NAMES:
        raise invalid("method", f"is {request.method}; expected one of {', '.join(_METHODS)}", Reason.INVALID_PLANNER)
    told = request.planner
    scalars: dict[str, Any] = {name: getattr(told, name) for name in _SCALARS if told.HasField(name)}
    per_dim = {name: _per_dim(told, name) for name in _PER_DIM if getattr(told, name)}
    one_or_all: dict[str, Any] = {
        name: float(value[0]) if len(value) == 1 else value for name, value in per_dim.items()
    }
    return PlanCall(
        scene=decode_scene_field(request),
        method=_METHOD_NAMES[request.method],
        planner=PlannerOptions(**scalars, **one_or_all),
        initial_mean=decode_tensor(request, "initial_mean") if request.HasField("initial_mean") else None,
        seed=request.seed,
        on_device=request.on_device,
        model=request.model,
        options=decode_options(request.options),
    )


def _per_dim(told: jepa_pb2.PlannerOptions, name: str) -> NDArray[np.float32]:
    """Decode an option of one value, or one a dim.

    Raises:
        OutOfRangeError: more values than any action has entries; converting millions would hold up the server.
    """
    values = getattr(told, name)
    if len(values) > _MAX_ACTION_DIM:
        problem = f"has {len(values)} values; expected 1 or A, at most {_MAX_ACTION_DIM}"
        raise OutOfRangeError(problem, reason=Reason.LIMIT_EXCEEDED, field=f"planner.{name}")
    return np.array(values, np.float32)


def plan_response(progress: PlanProgress) -> jepa_pb2.PlanResponse:
    """Encode a plan's progress."""
    response = jepa_pb2.PlanResponse(
        iteration=progress.iteration,
        iterations=progress.iterations,
        best_score=progress.best_score,
        mean_score=progress.mean_score,
        spread=progress.spread,
        timing=timing_message(progress.timing),
    )
    tensors.encode(progress.mean, response.mean, field="mean")
    tensors.encode(progress.best_actions, response.best_actions, field="best_actions")
    return response


def plan_progress(response: jepa_pb2.PlanResponse) -> PlanProgress:
    """Decode a plan's progress."""
    return PlanProgress(
        iteration=response.iteration,
        iterations=response.iterations,
        mean=decode_tensor(response, "mean"),
        best_actions=decode_tensor(response, "best_actions"),
        best_score=response.best_score,
        mean_score=response.mean_score,
        spread=response.spread,
        timing=timing(response.timing),
    )
