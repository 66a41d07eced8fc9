"""The clients' calls without I/O: generators that yield requests, are sent responses, and return results."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, TypeVar

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import (
    Context,
    LatentFrames,
    Observation,
    PlanCall,
    Scene,
    ScoreCall,
    ScoreResult,
    UnrollCall,
)
from worldforge_jepa_client.contract.validate import (
    check_observation,
    check_plan_call,
    check_scene,
    check_score_call,
    check_unroll_call,
)
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError, OutOfRangeError
from worldforge_jepa_client.inputs.scalars import as_str
from worldforge_jepa_client.v1 import jepa_pb2

_R = TypeVar("_R")
Operation = Generator[tuple[str, Any], Any, _R]
"""Yields (method name, request), is sent the response, returns the result. `Client` and `AsyncClient` drive it."""

Specs = dict[str, ModelSpec]
"""The specs that the server has published, by the name that was asked for."""


def score(call: ScoreCall, specs: Specs) -> Operation[ScoreResult]:
    """Check a call against the model's spec and send it."""
    yield from _named_checked(call.scene, call.model, partial(check_score_call, call), specs)
    response = yield "Score", wire.score_request(call)
    return wire.score_result(response)


def create_context(scene: Scene, model: str, specs: Specs) -> Operation[Context]:
    """Check a scene and have the server keep it."""
    yield from checked(model, partial(check_scene, scene), specs)
    response = yield "CreateContext", wire.context_request(scene, model)
    return wire.created_context(response)


def delete_context(context_id: str) -> Operation[None]:
    """Have the server forget a context."""
    yield "DeleteContext", jepa_pb2.DeleteContextRequest(context_id=context_id)


def encode(observation: Observation, model: str, dtype: str, specs: Specs) -> Operation[LatentFrames]:
    """Check an observation and ask for its latents."""

    def check(spec: ModelSpec) -> None:
        check_observation(observation, spec, "observation", needs_proprio=False)

    yield from checked(model, check, specs)
    response = yield "Encode", wire.encode_request(observation, model, dtype)
    return wire.latent_frames(response.latents)


def unroll(call: UnrollCall, specs: Specs) -> Operation[jepa_pb2.UnrollRequest]:
    """Check a call and return its request; the responses are a stream."""
    yield from _named_checked(call.scene, call.model, partial(check_unroll_call, call), specs)
    return wire.unroll_request(call)


def plan(call: PlanCall, specs: Specs) -> Operation[jepa_pb2.PlanRequest]:
    """Check a call and return its request; the responses are a stream."""
    yield from _named_checked(call.scene, call.model, partial(check_plan_call, call), specs)
    return wire.plan_request(call)


def model(name: str) -> Operation[ModelSpec]:
    """Ask for one model's spec."""
    response = yield "GetModel", jepa_pb2.GetModelRequest(model=as_str(name, "model"))
    return wire.model_spec(response.model)


def models() -> Operation[list[ModelSpec]]:
    """Ask for all models' specs."""
    response = yield "ListModels", jepa_pb2.ListModelsRequest()
    return [wire.model_spec(model) for model in response.models]


def _named_checked(scene: Scene | str, model: str, check: Callable[[ModelSpec], None], specs: Specs) -> Operation[None]:
    """Check against the model's spec; where a context names the model, the server alone checks."""
    if model or isinstance(scene, Scene):
        yield from checked(model, check, specs)


def checked(name: str, check: Callable[[ModelSpec], None], specs: Specs) -> Operation[None]:
    """Run `check` on a model's spec, and raise its error only if that spec is the server's newest."""
    known = specs.get(name)
    if known is None or not _passes(check, known):
        # Unknown, or perhaps changed by a server restart: ask before refusing.
        specs[name] = yield from model(name)
        check(specs[name])


def _passes(check: Callable[[ModelSpec], None], spec: ModelSpec) -> bool:
    try:
        check(spec)
    except (InvalidArgumentError, OutOfRangeError, FailedPreconditionError):
        return False
    return True
