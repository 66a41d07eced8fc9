"""Builds calls from the arguments of the clients' methods: converts to arrays and names the argument at fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any, cast

from worldforge_jepa_client.contract.extra_info import check_extra_info
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.contract.types import Context, PlanCall, Scene, ScoreCall, ScoreOptions, UnrollCall
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.inputs.arrays import as_array, as_candidates, as_history, as_observation
from worldforge_jepa_client.inputs.scalars import as_bool, as_float, as_int, as_ints, as_str
from worldforge_jepa_client.planning import Method, PlannerOptions
from worldforge_jepa_client.reasons import Reason

_CONVERSIONS: dict[Any, Callable[[Any, str], Any]] = {
    "int | None": as_int,
    "float | None": as_float,
    "bool | None": as_bool,
    "npt.ArrayLike | None": partial(as_array, rank=0),
}
"""The conversion to each type of a field of `PlannerOptions`."""

_DEFAULT_OPTIONS = ScoreOptions()


def build_score_call(
    scene: Scene | str,
    action_candidates: object,
    *,
    objective: object = None,
    proprio_weight: object = None,
    actions_are_normalized: object = None,
    extra_info: Mapping[str, Any] | None = None,
    model: str = "",
) -> ScoreCall:
    """Return the call that the arguments of `score` describe.

    Raises:
        InvalidArgumentError: an argument is not an array, or not of its field's type.
    """
    return ScoreCall(
        scene=scene,
        action_candidates=as_candidates(action_candidates),
        model=as_str(model, "model"),
        options=build_options(objective, proprio_weight, actions_are_normalized),
        extra_info=build_extra_info(extra_info),
    )


def build_unroll_call(
    scene: Scene | str,
    action_candidates: object,
    *,
    actions_are_normalized: object = True,
    steps: object = (),
    samples: object = (),
    dtype: str = "float32",
    model: str = "",
) -> UnrollCall:
    """Return the call that the arguments of `unroll` describe; raises as `build_score_call` does."""
    return UnrollCall(
        scene=scene,
        action_candidates=as_candidates(action_candidates),
        model=as_str(model, "model"),
        actions_are_normalized=as_bool(actions_are_normalized, "options.actions_are_normalized"),
        steps=as_ints(steps, "steps"),
        samples=as_ints(samples, "samples"),
        dtype=dtype,
    )


def build_plan_call(
    scene: Scene | str,
    planner: PlannerOptions,
    options: ScoreOptions,
    *,
    method: str = "cem",
    seed: object = 0,
    initial_mean: object = None,
    on_device: object = False,
    model: str = "",
) -> PlanCall:
    """Return the call that the arguments of `plan` describe; raises as `build_score_call` does."""
    return PlanCall(
        scene=scene,
        method=cast("Method", as_str(method, "method")),
        planner=planner,
        initial_mean=None if initial_mean is None else as_array(initial_mean, "initial_mean", rank=2, least_rank=2),
        seed=as_int(seed, "seed", min=0, max=2**64 - 1),
        on_device=as_bool(on_device, "on_device"),
        model=as_str(model, "model"),
        options=options,
    )


def build_planner_options(**given: object) -> PlannerOptions:
    """Return the planner's options; the keywords are its fields, None leaves one unset."""
    conversions = {item.name: _CONVERSIONS[item.type] for item in fields(PlannerOptions)}
    told = {name: value for name, value in given.items() if value is not None}
    return PlannerOptions(**{name: conversions[name](value, f"planner.{name}") for name, value in told.items()})


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


def build_options(
    objective: object = None,
    proprio_weight: object = None,
    actions_are_normalized: object = None,
    *,
    default: ScoreOptions = _DEFAULT_OPTIONS,
) -> ScoreOptions:
    """Return the options of a score; those that are None are as in `default`."""
    if objective is None and proprio_weight is None and actions_are_normalized is None:
        return default
    given: dict[str, Any] = {
        "objective": None if objective is None else _as_objective(objective),
        "proprio_weight": None if proprio_weight is None else as_float(proprio_weight, "options.proprio_weight"),
        "actions_are_normalized": None
        if actions_are_normalized is None
        else as_bool(actions_are_normalized, "options.actions_are_normalized"),
    }
    return replace(default, **{name: value for name, value in given.items() if value is not None})


def build_extra_info(extra_info: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the JSON for a model with a scoring method of its own; None is none."""
    if extra_info is None:
        return {}
    check_extra_info(extra_info)
    return extra_info


def _as_objective(value: object) -> Objective:
    try:
        return Objective(value.lower() if isinstance(value, str) else value)
    except ValueError:
        raise invalid(
            "options.objective",
            f"is {value!r}; expected one of {', '.join(item.value for item in Objective)}",
            Reason.UNKNOWN_OBJECTIVE,
        ) from None
