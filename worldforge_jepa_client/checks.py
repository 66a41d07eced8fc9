"""Whether a call fits a model: one set of rules, asked by the client before sending and by the server at its door."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from worldforge_jepa_client.calls import Observation, ScoreCall
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError, OutOfRangeError
from worldforge_jepa_client.spec import FREE, ModelSpec, TensorSpec


def check_score_call(call: ScoreCall, spec: ModelSpec) -> None:
    """Check every tensor and option of a call against a model's published spec.

    Raises:
        InvalidArgumentError: a shape, dtype or value that the spec does not allow; `field` names it.
        OutOfRangeError: more samples, steps or frames than the model's limits.
        FailedPreconditionError: raw actions for a model without action statistics.
    """
    weight = spec.proprio_weight if call.options.proprio_weight is None else call.options.proprio_weight
    if not (math.isfinite(weight) and weight >= 0):
        raise _invalid("options.proprio_weight", f"is {weight}; expected a finite number >= 0", "INVALID_VALUE")
    if weight > 0 and spec.proprio is None:
        raise _invalid("options.proprio_weight", f"is {weight}; model {spec.name} has no proprio", "INVALID_VALUE")
    if not call.options.actions_are_normalized and spec.normalization is None:
        raise FailedPreconditionError(
            f"model {spec.name} has no action statistics to normalize raw actions with",
            reason="NO_ACTION_NORMALIZATION",
            field="options.actions_are_normalized",
        )
    _check_observation(call.observation, spec, "context.observation")
    _check_observation(call.goal, spec, "context.goal", proprio_optional=weight == 0)
    _check_history(call, spec)
    _check_tensor(call.action_candidates, spec.action_candidates, "action_candidates")
    _, samples, horizon, _ = call.action_candidates.shape
    _check_limit("action_candidates", "samples", samples, spec.limits.max_samples)
    _check_limit("action_candidates", "steps of horizon", horizon, spec.limits.max_horizon)


def _check_observation(
    observation: Observation, spec: ModelSpec, field: str, *, proprio_optional: bool = False
) -> None:
    visual, proprio = observation.visual, observation.proprio
    _check_tensor(visual, spec.visual, f"{field}.visual")
    _check_pixel_range(visual, f"{field}.visual")
    frames = visual.shape[1]
    _check_limit(f"{field}.visual", "frames", frames, spec.limits.max_context_frames)
    if spec.proprio is None:
        if proprio is not None:
            raise _invalid(f"{field}.proprio", f"is set; model {spec.name} takes none", "UNEXPECTED_FIELD")
    elif proprio is not None:
        _check_tensor(proprio, spec.proprio, f"{field}.proprio")
        if proprio.shape[1] != frames:
            raise _invalid(f"{field}.proprio", f"has {proprio.shape[1]} frames; visual has {frames}", "SHAPE_MISMATCH")
    elif not proprio_optional:
        expected = _shape_text(spec.proprio.shape)
        raise _invalid(
            f"{field}.proprio", f"is missing; model {spec.name} needs raw proprio {expected}", "MISSING_FIELD"
        )


def _check_history(call: ScoreCall, spec: ModelSpec) -> None:
    frames, history = call.observation.visual.shape[1], call.action_history
    field = "context.action_history"
    if history is None:
        if frames > 1:
            raise _invalid(
                field,
                f"is missing; {frames} observation frames need the {frames - 1} actions between them",
                "MISSING_FIELD",
            )
        return
    if frames == 1:
        raise _invalid(field, "is set; one observation frame has no action before it", "UNEXPECTED_FIELD")
    _check_tensor(history, spec.action_history, field)
    if history.shape[1] != frames - 1:
        raise _invalid(
            field,
            f"has {history.shape[1]} actions; {frames} observation frames need {frames - 1}",
            "SHAPE_MISMATCH",
        )


def _check_tensor(array: NDArray[Any], spec: TensorSpec, field: str) -> None:
    if array.dtype.name not in spec.dtypes:
        raise _invalid(field, f"has dtype {array.dtype.name}; expected {' or '.join(spec.dtypes)}", "INVALID_DTYPE")
    fits = len(array.shape) == len(spec.shape) and all(
        got > 0 if expected == FREE else got == expected for got, expected in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise _invalid(field, f"has shape {array.shape}; expected {_shape_text(spec.shape)}", "INVALID_SHAPE")
    if array.dtype.kind != "f":
        return
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise _invalid(field, "holds NaN or infinite values; expected finite numbers", "NON_FINITE")
    least, most = spec.value_range or (-math.inf, math.inf)
    if low < least or high > most:
        raise _invalid(field, f"has values from {low:g} to {high:g}; expected {least:g} to {most:g}", "INVALID_VALUE")


def _check_pixel_range(visual: NDArray[Any], field: str) -> None:
    """Refuse frames scaled to 0..1: the model divides by 255 itself and would score a black scene."""
    if visual.dtype.kind == "f" and 0 < visual.max() <= 1:
        raise _invalid(
            field,
            f"has no value above {float(visual.max()):g}; expected 0 to 255, this looks scaled to 0..1",
            "INVALID_VALUE",
        )


def _check_limit(field: str, what: str, got: int, most: int) -> None:
    if got > most:
        raise OutOfRangeError(f"has {got} {what}; the limit is {most}", reason="LIMIT_EXCEEDED", field=field)


def _shape_text(shape: tuple[int, ...]) -> str:
    return f"({', '.join('any' if size == FREE else str(size) for size in shape)})"


def _invalid(field: str, problem: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(problem, reason=reason, field=field)
