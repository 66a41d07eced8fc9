"""Calls for scores and their results to protobuf messages and back; client and server use the same functions.

Tensors go through `tensors`; nothing here touches bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.contract.types import (
    Context,
    Observation,
    Scene,
    ScoreCall,
    ScoreOptions,
    ScoreResult,
    Timing,
)
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors
from worldforge_jepa_client.wire.json_struct import fill_struct, struct_dict
from worldforge_jepa_client.wire.status import from_message

OBJECTIVE_CODES: dict[Objective, Any] = {item: jepa_pb2.Objective.Value(f"OBJECTIVE_{item.name}") for item in Objective}
OBJECTIVES = {code: item for item, code in OBJECTIVE_CODES.items()}


def score_request(call: ScoreCall) -> jepa_pb2.ScoreRequest:
    """Encode a call.

    Raises:
        InvalidArgumentError: `extra_info` is not JSON.
    """
    request = jepa_pb2.ScoreRequest(model=call.model)
    encode_scene_field(call.scene, request)
    tensors.encode(call.action_candidates, request.action_candidates, field="action_candidates")
    encode_options(call.options, request.options)
    if call.extra_info:
        fill_struct(request.extra_info, call.extra_info, "extra_info")
    return request


def score_call(request: jepa_pb2.ScoreRequest) -> ScoreCall:
    """Decode a request.

    Raises:
        InvalidArgumentError: a required field is unset, or a tensor is malformed; `field` names it.
    """
    return ScoreCall(
        scene=decode_scene_field(request),
        action_candidates=decode_tensor(request, "action_candidates"),
        model=request.model,
        options=decode_options(request.options),
        extra_info=struct_dict(request.extra_info, "extra_info"),
    )


def encode_scene_field(scene: Scene | str, request: Any) -> None:
    """Fill a request's `scene` oneof: a whole scene, or a context's id."""
    if isinstance(scene, str):
        request.context_id = scene
    else:
        encode_scene(scene, request.context)


def decode_scene_field(request: Any) -> Scene | str:
    """Decode a request's `scene` oneof."""
    kind = request.WhichOneof("scene")
    if kind is None:
        raise invalid("context", "is missing", Reason.MISSING_FIELD)
    return decode_scene(request.context) if kind == "context" else str(request.context_id)


def encode_scene(scene: Scene, message: jepa_pb2.PlanningContext) -> None:
    """Fill a PlanningContext with the parts that the scene has."""
    if scene.observation is not None:
        encode_observation(scene.observation, message.observation, "context.observation")
    if scene.goal is not None:
        encode_observation(scene.goal, message.goal, "context.goal")
    if scene.action_history is not None:
        tensors.encode(scene.action_history, message.action_history, field="context.action_history")


def decode_scene(message: jepa_pb2.PlanningContext) -> Scene:
    """Decode the parts that a PlanningContext has."""
    history = "action_history"
    return Scene(
        observation=decode_observation(message.observation, "context.observation")
        if message.HasField("observation")
        else None,
        goal=decode_observation(message.goal, "context.goal") if message.HasField("goal") else None,
        action_history=decode_tensor(message, history, "context.") if message.HasField("action_history") else None,
    )


def encode_observation(observation: Observation, message: jepa_pb2.Observation, field: str) -> None:
    """Fill an Observation."""
    tensors.encode(observation.visual, message.visual, field=f"{field}.visual")
    if observation.proprio is not None:
        tensors.encode(observation.proprio, message.proprio, field=f"{field}.proprio")


def decode_observation(message: jepa_pb2.Observation, field: str) -> Observation:
    """Decode an Observation."""
    return Observation(
        visual=decode_tensor(message, "visual", f"{field}."),
        proprio=decode_tensor(message, "proprio", f"{field}.") if message.HasField("proprio") else None,
    )


def decode_tensor(message: Any, name: str, prefix: str = "") -> NDArray[Any]:
    """Decode a required tensor field of any message; errors name it `prefix` + `name`."""
    if not message.HasField(name):
        raise invalid(f"{prefix}{name}", "is missing", Reason.MISSING_FIELD)
    return tensors.decode(getattr(message, name), field=f"{prefix}{name}")


def encode_options(options: ScoreOptions, message: jepa_pb2.ScoreOptions) -> None:
    """Fill a ScoreOptions with what is not left to the model."""
    if options.objective is not None:
        message.objective = OBJECTIVE_CODES[options.objective]
    if options.proprio_weight is not None:
        message.proprio_weight = options.proprio_weight
    if not options.actions_are_normalized:
        message.actions_are_normalized = False


def decode_options(message: jepa_pb2.ScoreOptions) -> ScoreOptions:
    """Decode a ScoreOptions."""
    if message.objective and message.objective not in OBJECTIVES:
        raise invalid(
            "options.objective",
            f"is {message.objective}; expected one of {', '.join(item.name for item in Objective)}",
            Reason.UNKNOWN_OBJECTIVE,
        )
    return ScoreOptions(
        objective=OBJECTIVES.get(message.objective),
        proprio_weight=message.proprio_weight if message.HasField("proprio_weight") else None,
        actions_are_normalized=not message.HasField("actions_are_normalized") or message.actions_are_normalized,
    )


def score_response(result: ScoreResult) -> jepa_pb2.ScoreResponse:
    """Encode a result."""
    response = jepa_pb2.ScoreResponse(
        best_index=result.best_index,
        lower_is_better=result.lower_is_better,
        timing=timing_message(result.timing),
    )
    tensors.encode_floats(result.scores, response)
    fill_struct(response.metadata, result.metadata, "metadata")
    return response


def score_result(response: jepa_pb2.ScoreResponse) -> ScoreResult:
    """Decode a response."""
    return ScoreResult(
        scores=tensors.decode_floats(response),
        best_index=response.best_index,
        lower_is_better=response.lower_is_better,
        metadata=struct_dict(response.metadata, "metadata"),
        timing=timing(response.timing),
    )


def timing_message(timing: Timing) -> jepa_pb2.Timing:
    """Encode a timing."""
    return jepa_pb2.Timing(**vars(timing))


def timing(message: jepa_pb2.Timing) -> Timing:
    """Decode a timing."""
    return Timing(
        message.queue_us,
        message.decode_us,
        message.encode_us,
        message.unroll_us,
        message.distance_us,
        message.total_us,
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
        encode_scene(changes, request.context)
    if candidates is not None:
        tensors.encode(candidates, request.action_candidates, field="action_candidates")
    if options is not None:
        encode_options(options, request.options)
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
    return score_result(response.score) if kind == "score" else None


def context_request(scene: Scene, model: str) -> jepa_pb2.CreateContextRequest:
    """Encode a request for a context."""
    request = jepa_pb2.CreateContextRequest(model=model)
    encode_scene(scene, request.context)
    return request


def context_response(context: Context) -> jepa_pb2.CreateContextResponse:
    """Encode a context."""
    response = jepa_pb2.CreateContextResponse(context_id=context.id)
    response.expire_time.FromNanoseconds(round(context.expires_at * 1e9))
    return response


def created_context(response: jepa_pb2.CreateContextResponse) -> Context:
    """Decode a context."""
    return Context(response.context_id, response.expire_time.ToNanoseconds() / 1e9)
