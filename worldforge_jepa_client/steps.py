"""What a client does, without the waiting: each call as steps that Client drives blocking and AsyncClient awaiting."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from numbers import Real
from typing import Any, TypedDict, TypeVar

from worldforge_jepa_client import messages
from worldforge_jepa_client.arrays import as_array, as_observation
from worldforge_jepa_client.calls import ScoreCall, ScoreOptions, ScoreResult
from worldforge_jepa_client.checks import check_score_call
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError, OutOfRangeError
from worldforge_jepa_client.spec import ModelSpec, Objective
from worldforge_jepa_client.v1 import jepa_pb2

_R = TypeVar("_R")
Steps = Generator[tuple[str, Any], Any, _R]
"""Yields (method name, request), is sent the response, returns the result."""


class ScoreKeywords(TypedDict, total=False):
    """The optional keywords of `score`.

    Attributes:
        action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
        model: a served model's name; empty is the server's default.
        objective: "l2", "l1" or "cosine"; None is the model's default.
        proprio_weight: weight of the proprio features, >= 0; None is the model's default.
        actions_are_normalized: False has the server normalize candidates and history; True is the default.
        extra_info: JSON handed to models with a scoring method of their own.
    """

    action_history: object
    model: str
    objective: Objective | str | None
    proprio_weight: float | None
    actions_are_normalized: bool
    extra_info: Mapping[str, Any]


def build_score_call(
    observation: object, goal: object, action_candidates: object, keywords: ScoreKeywords
) -> ScoreCall:
    """Return the call that `Client.score`'s arguments describe.

    Raises:
        InvalidArgumentError: something is not an array, or not what its field takes.
    """
    history = keywords.get("action_history")
    normalized = keywords.get("actions_are_normalized", True)
    if not isinstance(normalized, bool):
        raise InvalidArgumentError(
            f"is {normalized!r}; expected true or false",
            reason="INVALID_TYPE",
            field="options.actions_are_normalized",
        )
    return ScoreCall(
        observation=as_observation(observation, "context.observation"),
        goal=as_observation(goal, "context.goal"),
        action_history=None if history is None else as_array(history, "context.action_history", rank=3),
        action_candidates=as_array(action_candidates, "action_candidates", rank=4),
        model=keywords.get("model", ""),
        options=ScoreOptions(
            _objective(keywords.get("objective")), _proprio_weight(keywords.get("proprio_weight")), normalized
        ),
        extra_info=keywords.get("extra_info") or {},
    )


def _objective(value: object) -> Objective | None:
    if value is None:
        return None
    try:
        return Objective(value.lower() if isinstance(value, str) else value)
    except ValueError:
        raise InvalidArgumentError(
            f"is {value!r}; expected one of {', '.join(item.value for item in Objective)}",
            reason="UNKNOWN_OBJECTIVE",
            field="options.objective",
        ) from None


def _proprio_weight(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgumentError(
            f"is {value!r}; expected a number", reason="INVALID_TYPE", field="options.proprio_weight"
        )
    try:
        return float(value)
    except OverflowError:
        return float("inf")  # an integer beyond float; the check against the spec refuses it


def score_steps(call: ScoreCall, specs: dict[str, ModelSpec]) -> Steps[ScoreResult]:
    """Check a call against the model's spec, send it; `specs` keeps what the server has published."""
    known = specs.get(call.model)
    if known is None or not _fits(call, known):
        # Unknown, or perhaps changed by a server restart: ask before refusing.
        specs[call.model] = yield from model_steps(call.model)
        check_score_call(call, specs[call.model])
    response = yield "Score", messages.score_request(call)
    return messages.score_result(response)


def _fits(call: ScoreCall, spec: ModelSpec) -> bool:
    try:
        check_score_call(call, spec)
    except (InvalidArgumentError, OutOfRangeError, FailedPreconditionError):
        return False
    return True


def model_steps(name: str) -> Steps[ModelSpec]:
    """Ask for one model's spec."""
    response = yield "GetModel", jepa_pb2.GetModelRequest(model=name)
    return messages.model_spec(response.model)


def models_steps() -> Steps[list[ModelSpec]]:
    """Ask for all models' specs."""
    response = yield "ListModels", jepa_pb2.ListModelsRequest()
    return [messages.model_spec(model) for model in response.models]
