"""Checks that a call fits a model: one set of rules, for the client before sending and for the server at its door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from worldforge_jepa_client.contract.extra_info import check_extra_info
from worldforge_jepa_client.contract.selection import check_selection
from worldforge_jepa_client.contract.spec import DYNAMIC, ModelSpec
from worldforge_jepa_client.contract.tensor_checks import (
    check_deviations,
    check_frames,
    check_history_length,
    check_tensor,
    plainly_fit,
    shape_text,
    with_rank,
)
from worldforge_jepa_client.contract.types import Observation, PlanCall, Scene, ScoreCall, ScoreOptions, UnrollCall
from worldforge_jepa_client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    OutOfRangeError,
    invalid,
)
from worldforge_jepa_client.planning import Arrays, HostArrays, Planner, make_planner
from worldforge_jepa_client.reasons import Reason

MAX_ITERATIONS = 10_000
"""Most iterations of a plan."""
_LARGEST_WEIGHT = 1e6  # beyond it float32 would lose the visual features beside the proprio's


def check_score_call(call: ScoreCall, spec: ModelSpec) -> None:
    """Check every tensor and option of a call; of a context named by id only the server knows more.

    Raises:
        InvalidArgumentError: a shape, dtype or value that the spec does not allow; `field` names it.
        OutOfRangeError: more samples, steps or frames than the model's limits.
        FailedPreconditionError: raw actions for a model without action statistics.
    """
    check_options(call.options, spec)
    if isinstance(call.scene, Scene):
        check_scene(call.scene, spec, normalized=call.options.actions_are_normalized)
        check_goal_proprio(call.scene.goal, call.options, spec)
    check_candidates(call.action_candidates, spec, normalized=call.options.actions_are_normalized)
    check_extra_info(call.extra_info, spec)


def check_unroll_call(call: UnrollCall, spec: ModelSpec) -> None:
    """Check every tensor and option of a call; raises as `check_score_call` does."""
    check_normalizable(call.actions_are_normalized, spec)
    check_candidates(call.action_candidates, spec, normalized=call.actions_are_normalized)
    check_selection(call)
    if isinstance(call.scene, Scene):
        check_scene(call.scene, spec, needs_goal=False, normalized=call.actions_are_normalized)


def check_plan_call(call: PlanCall, spec: ModelSpec) -> None:
    """Check every tensor and option of a call; raises as `check_score_call` does."""
    check_options(call.options, spec)
    planner_for(call, spec)
    if isinstance(call.scene, Scene):
        check_scene(call.scene, spec, normalized=call.options.actions_are_normalized)
        check_goal_proprio(call.scene.goal, call.options, spec)
        check_plan_units(call.options, has_history=call.scene.action_history is not None)


def planner_for(call: PlanCall, spec: ModelSpec, arrays: Callable[..., Arrays] = HostArrays) -> Planner:
    """Return the planner that a call describes, with the model's published settings where it says nothing.

    Raises:
        InvalidArgumentError: there is no such planner; the message names the option at fault.
        OutOfRangeError: it would ask for more than the model's limits.
        FailedPreconditionError: the model does not say what actions it takes.
    """
    told = call.resolved(spec).planner
    if spec.action_dim == DYNAMIC:
        raise FailedPreconditionError(
            f"{spec.name} does not say how many entries an action has; score candidates of your own",
            reason=Reason.NO_ACTION_DIM,
            field="model",
        )
    try:
        # Before the planner, because it allocates what it is told to.
        _check_plan_limits(told.samples or 0, told.horizon or 0, spec)
        _check_limit("planner.iterations", "iterations", told.iterations or 0, MAX_ITERATIONS)
        planner = make_planner(
            call.method,
            told,
            action_dim=spec.action_dim,
            rng=call.seed,
            initial_mean=call.initial_mean,
            arrays=arrays,
        )
    except (TypeError, ValueError) as error:
        raise invalid("planner", str(error), Reason.INVALID_PLANNER) from error
    _check_plan_limits(planner.samples, planner.horizon, spec)
    return planner


def check_plan_units(options: ScoreOptions, *, has_history: bool) -> None:
    """Refuse raw units where nothing has them: a plan and its bounds are normalized, only a history may be raw."""
    if not (options.actions_are_normalized or has_history):
        raise invalid(
            "options.actions_are_normalized",
            "is false, and there is no action history; bounds, initial mean and plan are in normalized units",
            Reason.UNEXPECTED_FIELD,
        )


def check_scene(scene: Scene, spec: ModelSpec, *, needs_goal: bool = True, normalized: bool = True) -> None:
    """Check a scene, its history in normalized or raw units; whether the goal needs proprio depends on the options."""
    if scene.observation is None:
        raise invalid("context.observation", "is missing", Reason.MISSING_FIELD)
    check_observation(scene.observation, spec, "context.observation")
    if scene.goal is not None:
        check_observation(scene.goal, spec, "context.goal", needs_proprio=False)
    elif needs_goal:
        raise invalid("context.goal", "is missing", Reason.MISSING_FIELD)
    _check_history(scene.action_history, scene.observation, spec, normalized)


def check_options(options: ScoreOptions, spec: ModelSpec) -> None:
    """Check the options of a score."""
    weight = proprio_weight(options, spec)
    if not 0 <= weight <= _LARGEST_WEIGHT:
        raise invalid("options.proprio_weight", f"is {weight}; expected 0 to {_LARGEST_WEIGHT:g}", Reason.INVALID_VALUE)
    if weight > 0 and spec.proprio is None:
        raise invalid("options.proprio_weight", f"is {weight}; model {spec.name} has no proprio", Reason.INVALID_VALUE)
    check_normalizable(options.actions_are_normalized, spec)


def check_normalizable(actions_are_normalized: bool, spec: ModelSpec) -> None:
    """Refuse raw actions where the model has no statistics to normalize them with."""
    if not actions_are_normalized and spec.normalization is None and not spec.normalizes_actions:
        raise FailedPreconditionError(
            f"model {spec.name} has no action statistics to normalize raw actions with",
            reason=Reason.NO_ACTION_NORMALIZATION,
            field="options.actions_are_normalized",
        )


def check_candidates(candidates: NDArray[Any], spec: ModelSpec, *, normalized: bool = True) -> None:
    """Check candidates (1, S, H, A), in normalized or raw units, and the limits on S and H."""
    if plainly_fit(candidates, spec, None if normalized else spec.normalization):
        return
    check_tensor(candidates, spec.action_candidates, "action_candidates")
    _, samples, horizon, _ = candidates.shape
    _check_limit("action_candidates", "samples", samples, spec.limits.max_samples)
    _check_limit("action_candidates", "steps of horizon", horizon, spec.limits.max_horizon)
    _check_product("action_candidates", samples, horizon, spec)
    _check_actions(candidates, spec, "action_candidates", normalized, items="samples")


def _check_actions(actions: NDArray[Any], spec: ModelSpec, field: str, normalized: bool, *, items: str = "") -> None:
    statistics = None if normalized else spec.normalization
    mean, std = (statistics.action_mean, statistics.action_std) if statistics else ((), ())
    check_deviations(actions, mean, std, field, items=items)


def _check_plan_limits(samples: int, horizon: int, spec: ModelSpec) -> None:
    _check_limit("planner.samples", "samples", samples, spec.limits.max_samples)
    _check_limit("planner.horizon", "steps of horizon", horizon, spec.limits.max_horizon)
    _check_product("planner.samples", samples, horizon, spec)


def _check_product(field: str, samples: int, horizon: int, spec: ModelSpec) -> None:
    most = spec.limits.max_candidate_steps
    if most:
        _check_limit(field, "samples x horizon", samples * horizon, most)


def check_goal_proprio(goal: object, options: ScoreOptions, spec: ModelSpec) -> None:
    """Refuse a goal, given or encoded, without the proprio that the options weigh."""
    if getattr(goal, "proprio", None) is None and proprio_weight(options, spec) > 0:
        raise _missing_proprio("context.goal", spec)


def proprio_weight(options: ScoreOptions, spec: ModelSpec) -> float:
    """Return the call's proprio weight, or the model's default."""
    return spec.proprio_weight if options.proprio_weight is None else options.proprio_weight


def check_observation(observation: Observation, spec: ModelSpec, field: str, *, needs_proprio: bool = True) -> None:
    """Check the frames of an observation or goal, or the array of a model that takes no frames."""
    _check_visual(observation.visual, spec, f"{field}.visual")
    if observation.proprio is not None:
        frames = observation.visual.shape[1] if spec.takes_frames else None
        _check_proprio(observation.proprio, frames, spec, f"{field}.proprio")
    elif spec.proprio is not None and needs_proprio:
        raise _missing_proprio(field, spec)


def _check_visual(visual: NDArray[Any], spec: ModelSpec, field: str) -> None:
    if not spec.takes_frames:
        check_tensor(with_rank(visual, len(spec.visual.shape)), spec.visual, field)
        return
    check_tensor(visual, spec.visual, field)
    check_frames(visual, field)
    _check_limit(field, "frames", visual.shape[1], spec.limits.max_context_frames)


def _check_proprio(proprio: NDArray[Any], frames: int | None, spec: ModelSpec, field: str) -> None:
    if spec.proprio is None:
        raise invalid(field, f"is set; model {spec.name} takes none", Reason.UNEXPECTED_FIELD)
    check_tensor(proprio, spec.proprio, field)
    statistics = spec.normalization
    mean, std = (statistics.proprio_mean, statistics.proprio_std) if statistics else ((), ())
    check_deviations(proprio, mean, std, field)
    if frames is not None and proprio.shape[1] != frames:
        raise invalid(field, f"has {proprio.shape[1]} frames; visual has {frames}", Reason.INVALID_SHAPE)


def _missing_proprio(field: str, spec: ModelSpec) -> InvalidArgumentError:
    expected = shape_text(spec.proprio.shape) if spec.proprio else "none"
    return invalid(
        f"{field}.proprio", f"is missing; model {spec.name} needs raw proprio {expected}", Reason.MISSING_FIELD
    )


def _check_history(history: NDArray[Any] | None, observation: Observation, spec: ModelSpec, normalized: bool) -> None:
    field = "context.action_history"
    if spec.takes_frames:
        check_history_length(history, observation.visual.shape[1], spec, field)
    elif history is not None:
        check_tensor(history, spec.action_history, field)
    if history is not None:
        _check_actions(history, spec, field, normalized)


def _check_limit(field: str, what: str, got: int, most: int) -> None:
    """Refuse more than a published limit."""
    if got > most:
        raise OutOfRangeError(f"has {got} {what}; the limit is {most}", reason=Reason.LIMIT_EXCEEDED, field=field)
