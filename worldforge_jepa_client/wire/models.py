"""Published model specs to protobuf messages and back; client and server use the same functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import Any, TypeVar

from worldforge_jepa_client.contract.spec import (
    Identity,
    Limits,
    MemoryUse,
    ModelSpec,
    Normalization,
    Objective,
    PlannerDefaults,
    TensorSpec,
)
from worldforge_jepa_client.errors import FailedPreconditionError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors
from worldforge_jepa_client.wire.scoring import OBJECTIVE_CODES, OBJECTIVES

_D = TypeVar("_D", Normalization, Limits, PlannerDefaults, MemoryUse)

_WIRE_NAMES = {"initial_std": "std", "low": "clip_low", "high": "clip_high"}
"""The proto's names of the fields of PlannerDefaults, where they differ."""


def model_message(spec: ModelSpec) -> jepa_pb2.Model:
    """Encode a spec."""
    return jepa_pb2.Model(
        name=spec.name,
        source=spec.source,
        visual=_tensor_spec_message(spec.visual),
        proprio=_tensor_spec_message(spec.proprio) if spec.proprio else None,
        action_candidates=_tensor_spec_message(spec.action_candidates),
        action_history=_tensor_spec_message(spec.action_history),
        raw_action_dim=spec.raw_action_dim,
        frameskip=spec.frameskip,
        action_dim=spec.action_dim,
        proprio_dim=spec.proprio_dim,
        context_window=spec.context_window,
        default_objective=OBJECTIVE_CODES[spec.objective],
        default_proprio_weight=spec.proprio_weight,
        normalization=jepa_pb2.Normalization(**asdict(spec.normalization)) if spec.normalization else None,
        limits=jepa_pb2.Limits(**asdict(spec.limits)),
        device=spec.device,
        dtype=spec.dtype,
        parameter_count=spec.parameter_count,
        checkpoint_digest=spec.checkpoint_digest,
        family=spec.family,
        environment=spec.environment,
        encoder=spec.encoder,
        planner=_planner_message(spec.planner) if spec.planner else None,
        memory=jepa_pb2.MemoryUse(**asdict(spec.memory)) if spec.memory else None,
        image_size=spec.image_size,
        compiled=spec.compiled,
        reads_extra_info=spec.reads_extra_info,
        identity=jepa_pb2.Identity(**vars(spec.identity)),
        normalizes_actions=spec.normalizes_actions,
    )


def model_spec(message: jepa_pb2.Model) -> ModelSpec:
    """Decode a spec.

    Raises:
        FailedPreconditionError: a newer server speaks of an objective that this code does not know.
    """
    return ModelSpec(
        name=message.name,
        source=message.source,
        visual=_tensor_spec(message.visual),
        proprio=_tensor_spec(message.proprio) if message.HasField("proprio") else None,
        raw_action_dim=message.raw_action_dim,
        frameskip=message.frameskip,
        context_window=message.context_window,
        objective=_objective(message),
        proprio_weight=message.default_proprio_weight,
        normalization=_plain(message.normalization, Normalization) if message.HasField("normalization") else None,
        limits=_plain(message.limits, Limits),
        device=message.device,
        dtype=message.dtype,
        parameter_count=message.parameter_count,
        checkpoint_digest=message.checkpoint_digest,
        family=message.family,
        environment=message.environment,
        encoder=message.encoder,
        planner=_plain(message.planner, PlannerDefaults, _WIRE_NAMES) if message.HasField("planner") else None,
        memory=_plain(message.memory, MemoryUse) if message.HasField("memory") else None,
        image_size=message.image_size,
        compiled=message.compiled,
        reads_extra_info=message.reads_extra_info,
        identity=_identity(message.identity),
        normalizes_actions=message.normalizes_actions,
    )


def _objective(message: jepa_pb2.Model) -> Objective:
    if message.default_objective not in OBJECTIVES:
        raise FailedPreconditionError(
            f"is {message.default_objective}, which this client does not know: it is older than the server",
            reason=Reason.UNKNOWN_OBJECTIVE,
            field="default_objective",
        )
    return OBJECTIVES[message.default_objective]


def _identity(message: jepa_pb2.Identity) -> Identity:
    read: dict[str, Any] = {item.name: getattr(message, item.name) for item in fields(Identity)}
    return Identity(**read | ({} if message.HasField("pretrained") else {"pretrained": None}))


def _planner_message(planner: PlannerDefaults) -> jepa_pb2.PlannerDefaults:
    return jepa_pb2.PlannerDefaults(**{_WIRE_NAMES.get(name, name): value for name, value in vars(planner).items()})


def _plain(message: Any, kind: type[_D], wire_names: Mapping[str, str] = MappingProxyType({})) -> _D:
    """Return the dataclass `kind` of a message with the same fields, but for those in `wire_names`."""
    read = {item.name: getattr(message, wire_names.get(item.name, item.name)) for item in fields(kind)}
    values: dict[str, Any] = {
        name: value if isinstance(value, int | float) else tuple(value) for name, value in read.items()
    }
    return kind(**values)


def _tensor_spec_message(spec: TensorSpec) -> jepa_pb2.TensorSpec:
    message = jepa_pb2.TensorSpec(shape=spec.shape, dtypes=[tensors.dtype_code(name) for name in spec.dtypes])
    if spec.value_range is not None:
        message.value_range.low, message.value_range.high = spec.value_range
    return message


def _tensor_spec(message: jepa_pb2.TensorSpec) -> TensorSpec:
    value_range = (message.value_range.low, message.value_range.high)
    return TensorSpec(
        shape=tuple(message.shape),
        dtypes=tuple(tensors.dtype_name(code) for code in message.dtypes),
        value_range=value_range if message.HasField("value_range") else None,
    )
