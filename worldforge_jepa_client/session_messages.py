"""Contexts, streams, latents and plans to protobuf messages and back; client and server use the same functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from worldforge_jepa_client import messages, tensors
from worldforge_jepa_client.calls import (
    Context,
    LatentFrames,
    Observation,
    PlanCall,
    PlanProgress,
    Scene,
    ScoreOptions,
    ScoreResult,
    UnrollCall,
)
from worldforge_jepa_client.errors import from_message, invalid
from worldforge_jepa_client.planning import Method, PlannerOptions
from worldforge_jepa_client.structs import fill_struct
from worldforge_jepa_client.v1 import jepa_pb2

LATENT_DTYPES = ("float32", "float16", "bfloat16")
_METHODS: dict[Method, Any] = {
    "cem": jepa_pb2.PLAN_METHOD_CEM,
    "icem": jepa_pb2.PLAN_METHOD_ICEM,
    "mppi": jepa_pb2.PLAN_METHOD_MPPI,
}
_METHOD_NAMES: dict[int, Method] = {jepa_pb2.PLAN_METHOD_UNSPECIFIED: "cem"} | {
    code: name for name, code in _METHODS.items()
}
_PER_DIM = ("initial_std", "min_std", "low", "high")
_SCALARS = (
    "horizon",
    "samples",
    "iterations",
    "elites",
    "momentum",
    "temperature",
    "prior_fraction",
    "keep_best",
)


def stream_request(
    changes: Scene | None,
    candidates: np.ndarray[Any, Any] | None,
    *,
    model: str = "",
    options: ScoreOptions | None = None,
    extra_info: Mapping[str, Any] | None = None,
) -> jepa_pb2.ScoreStreamRequest:
    """Encode one message of a ScoreStream: what changes in the scene, candidates to score, or both."""
    request = jepa_pb2.ScoreStreamRequest(model=model)
    if changes is not None:
        messages.encode_scene(changes, request.context)
    if candidates is not None:
        tensors.encode(candidates, request.action_candidates, field="action_candidates")
    if options is not None:
        messages.encode_options(options, request.options)
    if extra_info:
        fill_struct(request.extra_info, extra_info, "extra_info")
    return request


def stream_result(response: jepa_pb2.ScoreStreamResponse) -> ScoreResult | None:
    """Decode one answer of a ScoreStream; None where only the scene was set.

    Raises:
        JepaError: the request was refused.
    """
    kind = response.WhichOneof("result")
    if kind == "error":
        raise from_message(response.error)
    return messages.score_result(response.score) if kind == "score" else None


def context_request(scene: Scene, model: str) -> jepa_pb2.CreateContextRequest:
    """Encode a request for a context."""
    request = jepa_pb2.CreateContextRequest(model=model)
    messages.encode_scene(scene, request.context)
    return request


def context_response(context: Context) -> jepa_pb2.CreateContextResponse:
    """Encode a context."""
    response = jepa_pb2.CreateContextResponse(context_id=context.id)
    response.expire_time.FromNanoseconds(round(context.expires_at * 1e9))
    return response


def context(response: jepa_pb2.CreateContextResponse) -> Context:
    """Decode a context."""
    return Context(response.context_id, response.expire_time.ToNanoseconds() / 1e9)


def encode_request(observation: Observation, model: str, dtype: str) -> jepa_pb2.EncodeRequest:
    """Encode a request for an observation's latents."""
    request = jepa_pb2.EncodeRequest(model=model, dtype=_latent_dtype_code(dtype))
    messages.encode_observation(observation, request.observation, "observation")
    return request


def latents_message(latents: LatentFrames, dtype: str) -> jepa_pb2.Latents:
    """Encode latents as `dtype`."""
    message = jepa_pb2.Latents()
    tensors.encode(latents.visual, message.visual, field="latents.visual", dtype=dtype)
    if latents.proprio is not None:
        tensors.encode(latents.proprio, message.proprio, field="latents.proprio", dtype=dtype)
    return message


def latents(message: jepa_pb2.Latents) -> LatentFrames:
    """Decode latents; bfloat16 becomes float32."""
    return LatentFrames(
        messages.decode_tensor(message, "visual", "latents."),
        messages.decode_tensor(message, "proprio", "latents.") if message.HasField("proprio") else None,
    )


def latent_dtype(code: int) -> str:
    """Decode the dtype in which latents are asked for.

    Raises:
        InvalidArgumentError: not a dtype of `LATENT_DTYPES`.
    """
    name = tensors.dtype_name(code) if code else LATENT_DTYPES[0]
    if name not in LATENT_DTYPES:
        raise invalid("dtype", f"is {name}; expected one of {', '.join(LATENT_DTYPES)}", "INVALID_DTYPE")
    return name


def unroll_request(call: UnrollCall) -> jepa_pb2.UnrollRequest:
    """Encode a request for predicted latents."""
    request = jepa_pb2.UnrollRequest(
        model=call.model, steps=call.steps, samples=call.samples, dtype=_latent_dtype_code(call.dtype)
    )
    messages.encode_scene_field(call.scene, request)
    tensors.encode(call.action_candidates, request.action_candidates, field="action_candidates")
    if not call.actions_are_normalized:
        request.actions_are_normalized = False
    return request


def unroll_call(request: jepa_pb2.UnrollRequest) -> UnrollCall:
    """Decode a request for predicted latents."""
    return UnrollCall(
        scene=messages.decode_scene_field(request),
        action_candidates=messages.decode_tensor(request, "action_candidates"),
        model=request.model,
        actions_are_normalized=not request.HasField("actions_are_normalized") or request.actions_are_normalized,
        steps=tuple(request.steps),
        samples=tuple(request.samples),
        dtype=latent_dtype(request.dtype),
    )


def plan_request(call: PlanCall) -> jepa_pb2.PlanRequest:
    """Encode a request for a plan.

    Raises:
        InvalidArgumentError: an unknown method.
    """
    if call.method not in _METHODS:
        raise invalid("method", f"is {call.method!r}; expected one of {', '.join(_METHODS)}", "UNKNOWN_METHOD")
    request = jepa_pb2.PlanRequest(
        model=call.model, method=_METHODS[call.method], seed=call.seed, on_device=call.on_device
    )
    messages.encode_scene_field(call.scene, request)
    messages.encode_options(call.options, request.options)
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
    """
    if request.method not in _METHOD_NAMES:
        raise invalid("method", f"is {request.method}; expected one of {', '.join(_METHODS)}", "UNKNOWN_METHOD")
    told = request.planner
    scalars: dict[str, Any] = {name: getattr(told, name) for name in _SCALARS if told.HasField(name)}
    per_dim = {name: np.array(getattr(told, name), np.float32) for name in _PER_DIM if getattr(told, name)}
    one_or_all: dict[str, Any] = {
        name: float(value[0]) if len(value) == 1 else value for name, value in per_dim.items()
    }
    return PlanCall(
        scene=messages.decode_scene_field(request),
        method=_METHOD_NAMES[request.method],
        planner=PlannerOptions(**scalars, **one_or_all),
        initial_mean=messages.decode_tensor(request, "initial_mean") if request.HasField("initial_mean") else None,
        seed=request.seed,
        on_device=request.on_device,
        model=request.model,
        options=messages.decode_options(request.options),
    )


def plan_response(progress: PlanProgress) -> jepa_pb2.PlanResponse:
    """Encode a plan's progress."""
    response = jepa_pb2.PlanResponse(
        iteration=progress.iteration,
        iterations=progress.iterations,
        best_score=progress.best_score,
        mean_score=progress.mean_score,
        spread=progress.spread,
        timing=messages.timing_message(progress.timing),
    )
    tensors.encode(progress.mean, response.mean, field="mean")
    tensors.encode(progress.best_actions, response.best_actions, field="best_actions")
    return response


def plan_progress(response: jepa_pb2.PlanResponse) -> PlanProgress:
    """Decode a plan's progress."""
    return PlanProgress(
        iteration=response.iteration,
        iterations=response.iterations,
        mean=messages.decode_tensor(response, "mean"),
        best_actions=messages.decode_tensor(response, "best_actions"),
        best_score=response.best_score,
        mean_score=response.mean_score,
        spread=response.spread,
        timing=messages.timing(response.timing),
    )


def _latent_dtype_code(dtype: str) -> jepa_pb2.DataType:
    if dtype not in LATENT_DTYPES:
        raise invalid("dtype", f"is {dtype!r}; expected one of {', '.join(LATENT_DTYPES)}", "INVALID_DTYPE")
    return tensors.dtype_code(dtype)
