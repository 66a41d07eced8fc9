"""What callers of the clients pass, to calls: conversion to arrays, and a clear error for what is no such thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, cast

from worldforge_jepa_client.contract.extra_info import check_extra_info
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.contract.types import Context, PlanCall, Scene, ScoreCall, ScoreOptions, UnrollCall
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.inputs.arrays import as_array, as_candidates, as_history, as_observation
from worldforge_jepa_client.inputs.keywords import (
    OptionKeywords,
    PlanKeywords,
    RequestKeywords,
    ScoreKeywords,
    UnrollKeywords,
    check_keywords,
)
from worldforge_jepa_client.inputs.scalars import as_bool, as_float, as_int, as_ints, as_str
from worldforge_jepa_client.planning import Method, PlannerOptions
from worldforge_jepa_client.reasons import Reason

_PLANNER_TYPES: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("horizon", "iterations", "samples", "elites"), as_int),
    **dict.fromkeys(("initial_std", "min_std", "low", "high"), partial(as_array, rank=0)),
    **dict.fromkeys(("momentum", "temperature", "prior_fraction"), as_float),
    "keep_best": as_bool,
}
"""What converts each field of `PlannerOptions`."""


def build_score_call(scene: Scene | str, action_candidates: object, keywords: ScoreKeywords) -> ScoreCall:
    """Return the call that the arguments of `score` describe.

    Raises:
        InvalidArgumentError: something is not an array, or not what its field takes.
        TypeError: there is no such keyword.
    """
    check_keywords(keywords, ScoreKeywords)
    return ScoreCall(
        scene=scene,
        action_candidates=as_candidates(action_candidates),
        model=keywords.get("model", ""),
        options=build_options(keywords),
        extra_info=build_extra_info(keywords),
    )


def build_unroll_call(scene: Scene | str, action_candidates: object, keywords: UnrollKeywords) -> UnrollCall:
    """Return the call that the arguments of `unroll` describe; raises as `build_score_call` does."""
    check_keywords(keywords, UnrollKeywords)
    return UnrollCall(
        scene=scene,
        action_candidates=as_candidates(action_candidates),
        model=keywords.get("model", ""),
        actions_are_normalized=_are_normalized(keywords),
        steps=as_ints(keywords.get("steps", ()), "steps"),
        samples=as_ints(keywords.get("samples", ()), "samples"),
        dtype=keywords.get("dtype", "float32"),
    )


def build_plan_call(scene: Scene | str, keywords: PlanKeywords) -> PlanCall:
    """Return the call that the arguments of `plan` describe; raises as `build_score_call` does."""
    check_keywords(keywords, PlanKeywords)
    initial_mean = keywords.get("initial_mean")
    return PlanCall(
        scene=scene,
        method=cast("Method", as_str(keywords.get("method", "cem"), "method")),
        planner=_planner_options(keywords),
        initial_mean=None if initial_mean is None else as_array(initial_mean, "initial_mean", rank=2, least_rank=2),
        seed=as_int(keywords.get("seed", 0), "seed", least=0, most=2**64 - 1),
        on_device=as_bool(keywords.get("on_device", False), "on_device"),
        model=keywords.get("model", ""),
        options=build_options(keywords),
    )


def build_scene(observation: object, goal: object = None, action_history: object = None) -> Scene:
    """Return the scene that a caller's arrays describe; a goal of None is none."""
    return Scene(
        observation=as_observation(observation, "context.observation"),
        goal=None if goal is None else as_observation(goal, "context.goal"),
        action_history=None if action_history is None else as_history(action_history),
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
            Reason.CONFLICTING_FIELDS,
        )
    return context_id(context)


def context_id(context: Context | str) -> str:
    """Return the id of a context, which may be given itself."""
    return as_str(context.id if isinstance(context, Context) else context, "context")


def build_options(keywords: OptionKeywords) -> ScoreOptions:
    """Return how to score."""
    weight = keywords.get("proprio_weight")
    return ScoreOptions(
        _objective(keywords.get("objective")),
        None if weight is None else as_float(weight, "options.proprio_weight"),
        _are_normalized(keywords),
    )


def build_extra_info(keywords: RequestKeywords) -> Mapping[str, Any]:
    """Return what a model with a scoring method of its own is told."""
    extra_info = keywords.get("extra_info")
    if extra_info is None:
        return {}
    check_extra_info(extra_info)
    return extra_info


def _planner_options(keywords: Mapping[str, Any]) -> PlannerOptions:
    names = (item.name for item in fields(PlannerOptions))
    given = {name: keywords[name] for name in names if keywords.get(name) is not None}
    return PlannerOptions(**{name: _PLANNER_TYPES[name](value, f"planner.{name}") for name, value in given.items()})


def _are_normalized(keywords: Mapping[str, Any]) -> bool:
    return as_bool(keywords.get("actions_are_normalized", True), "options.actions_are_normalized")


def _objective(value: object) -> Objective | None:
    if value is None:
        return None
    try:
        return Objective(value.lower() if isinstance(value, str) else value)
    except ValueError:
        raise invalid(
            "options.objective",
            f"is {value!r}; expected one of {', '.join(item.value for item in Objective)}",
            Reason.UNKNOWN_OBJECTIVE,
        ) from None
