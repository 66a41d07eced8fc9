"""What callers of the clients pass, to calls: conversion to arrays, and a clear error for what is no such thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Real
from typing import Any, TypedDict

from worldforge_jepa_client.arrays import as_array, as_observation
from worldforge_jepa_client.calls import Context, PlanCall, Scene, ScoreCall, ScoreOptions, UnrollCall
from worldforge_jepa_client.checks import check_extra_info
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.planning import Method, PlannerOptions
from worldforge_jepa_client.spec import Objective


class OptionKeywords(TypedDict, total=False):
    """How to score.

    Attributes:
        objective: "l2", "l1" or "cosine"; None is the model's default.
        proprio_weight: weight of the proprio features, >= 0; None is the model's default.
        actions_are_normalized: False has the server normalize candidates and history; True is the default.
    """

    objective: Objective | str | None
    proprio_weight: float | None
    actions_are_normalized: bool


class RequestKeywords(OptionKeywords, total=False):
    """What one request for scores may add to its candidates.

    Attributes:
        extra_info: JSON handed to models with a scoring method of their own.
    """

    extra_info: Mapping[str, Any]


class ScoreKeywords(RequestKeywords, total=False):
    """The optional keywords of `score` and `session`.

    Attributes:
        action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
        model: a served model's name; empty is that of the context, or else the server's default.
    """

    action_history: object
    model: str


class UnrollKeywords(TypedDict, total=False):
    """The optional keywords of `unroll`.

    Attributes:
        action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
        model: a served model's name; empty is that of the context, or else the server's default.
        actions_are_normalized: False has the server normalize candidates and history; True is the default.
        steps: the steps to return, from 1 to H, rising; none means all.
        samples: the candidates to unroll, from 0 to S - 1; none means all.
        dtype: "float32", "float16" or "bfloat16": how latents are sent.
    """

    action_history: object
    model: str
    actions_are_normalized: bool
    steps: Sequence[int]
    samples: Sequence[int]
    dtype: str


class PlanKeywords(OptionKeywords, total=False):
    """The optional keywords of `plan`; beyond these the fields of `planning.PlannerOptions`.

    Attributes:
        action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
        model: a served model's name; empty is that of the context, or else the server's default.
        method: "cem", "icem" or "mppi".
        seed: equal seeds give equal plans, from 0 to 2**64 - 1.
        initial_mean: the plan to start from, (H, A), e.g. what `planning.shift_plan` leaves of the last one.
        on_device: draw and refit on the model's device; other random numbers than on the host.
    """

    action_history: object
    model: str
    method: Method
    seed: int
    initial_mean: object
    on_device: bool
    horizon: int
    iterations: int
    samples: int
    elites: int
    initial_std: float | Sequence[float]
    min_std: float | Sequence[float]
    low: float | Sequence[float]
    high: float | Sequence[float]
    momentum: float
    temperature: float
    prior_fraction: float
    keep_best: bool


def build_score_call(scene: Scene | str, action_candidates: object, keywords: ScoreKeywords) -> ScoreCall:
    """Return the call that the arguments of `score` describe.

    Raises:
        InvalidArgumentError: something is not an array, or not what its field takes.
        TypeError: there is no such keyword.
    """
    check_keywords(keywords, ScoreKeywords)
    return ScoreCall(
        scene=scene,
        action_candidates=as_array(action_candidates, "action_candidates", rank=4),
        model=keywords.get("model", ""),
        options=build_options(keywords),
        extra_info=build_extra_info(keywords),
    )


def build_unroll_call(scene: Scene | str, action_candidates: object, keywords: UnrollKeywords) -> UnrollCall:
    """Return the call that the arguments of `unroll` describe; raises as `build_score_call` does."""
    check_keywords(keywords, UnrollKeywords)
    return UnrollCall(
        scene=scene,
        action_candidates=as_array(action_candidates, "action_candidates", rank=4),
        model=keywords.get("model", ""),
        actions_are_normalized=_are_normalized(keywords),
        steps=tuple(int(step) for step in keywords.get("steps", ())),
        samples=tuple(int(sample) for sample in keywords.get("samples", ())),
        dtype=keywords.get("dtype", "float32"),
    )


def build_plan_call(scene: Scene | str, keywords: PlanKeywords) -> PlanCall:
    """Return the call that the arguments of `plan` describe; raises as `build_score_call` does."""
    check_keywords(keywords, PlanKeywords)
    initial_mean, seed = keywords.get("initial_mean"), keywords.get("seed", 0)
    if not 0 <= seed < 2**64:
        raise invalid("seed", f"is {seed}; expected 0 to 2**64 - 1", "INVALID_VALUE")
    return PlanCall(
        scene=scene,
        method=keywords.get("method", "cem"),
        planner=_planner_options(keywords),
        initial_mean=None if initial_mean is None else as_array(initial_mean, "initial_mean", rank=2),
        seed=seed,
        on_device=keywords.get("on_device", False),
        model=keywords.get("model", ""),
        options=build_options(keywords),
    )


def build_scene(observation: object, goal: object = None, action_history: object = None) -> Scene:
    """Return the scene that a caller's arrays describe; a goal of None is none."""
    return Scene(
        observation=as_observation(observation, "context.observation"),
        goal=None if goal is None else as_observation(goal, "context.goal"),
        action_history=None if action_history is None else as_array(action_history, "context.action_history", rank=3),
    )


def build_named_scene(
    context: Context | str | None, observation: object, goal: object = None, action_history: object = None
) -> Scene | str:
    """Return the scene of a call that takes a context, or else observation, goal and history.

    Raises:
        InvalidArgumentError: both came, or neither.
    """
    if context is None:
        return build_scene(observation, goal, action_history)
    if any(part is not None for part in (observation, goal, action_history)):
        raise invalid(
            "context",
            "is set, and so is observation, goal or action_history; expected one way to give the scene",
            "AMBIGUOUS_SCENE",
        )
    return context.id if isinstance(context, Context) else context


def build_options(keywords: OptionKeywords) -> ScoreOptions:
    """Return how to score."""
    return ScoreOptions(
        _objective(keywords.get("objective")),
        _proprio_weight(keywords.get("proprio_weight")),
        _are_normalized(keywords),
    )


def build_extra_info(keywords: RequestKeywords) -> Mapping[str, Any]:
    """Return what a model with a scoring method of its own is told."""
    extra_info = keywords.get("extra_info")
    if extra_info is None:
        return {}
    check_extra_info(extra_info)
    return extra_info


def check_keywords(keywords: Mapping[str, Any], known: Any) -> None:
    """Raise TypeError for a keyword that the TypedDict `known` has not: Python itself would let it pass."""
    unknown = sorted(set(keywords) - known.__optional_keys__)
    if unknown:
        raise TypeError(f"unknown keywords {', '.join(unknown)}; known: {', '.join(sorted(known.__optional_keys__))}")


def _planner_options(keywords: PlanKeywords) -> PlannerOptions:
    names = {item.name for item in fields(PlannerOptions)}
    given: dict[str, Any] = {name: value for name, value in keywords.items() if name in names}
    try:
        return PlannerOptions(**given)
    except ValueError as error:
        raise invalid("planner", str(error), "INVALID_PLANNER") from error


def _are_normalized(keywords: Mapping[str, Any]) -> bool:
    value = keywords.get("actions_are_normalized", True)
    if not isinstance(value, bool):
        raise invalid("options.actions_are_normalized", f"is {value!r}; expected true or false", "INVALID_TYPE")
    return value


def _objective(value: object) -> Objective | None:
    if value is None:
        return None
    try:
        return Objective(value.lower() if isinstance(value, str) else value)
    except ValueError:
        raise invalid(
            "options.objective",
            f"is {value!r}; expected one of {', '.join(item.value for item in Objective)}",
            "UNKNOWN_OBJECTIVE",
        ) from None


def _proprio_weight(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real):
        raise invalid("options.proprio_weight", f"is {value!r}; expected a number", "INVALID_TYPE")
    try:
        return float(value)
    except OverflowError:
        return float("inf")  # an integer beyond float; the check against the spec refuses it
