"""Checks of one tensor against a published spec: dtype, shape, finite values, range, and distance from the mean.

Letters: S samples (candidates), T frames, H horizon, A packed action dim, P proprio dim, a raw action dim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.dtypes import dtype_name
from worldforge_jepa_client.contract.spec import DYNAMIC, ModelSpec, Normalization, TensorSpec
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason

MAX_DEVIATIONS = 1e6
"""The largest distance of an action or proprio from the training data's mean, in standard deviations.

What is further is no action of any robot, and overflows in a model that computes in float32.
"""

_SCALED_MAX = 2
"""The highest value of a frame that was scaled to 0..1, with the overshoot of a resize or of brightness."""

_NAMED = 8
"""The most samples at fault that an error lists."""


def check_tensor(array: NDArray[Any], spec: TensorSpec, field: str) -> None:
    """Check dtype, shape, finite values and value range.

    Raises:
        InvalidArgumentError: one of them does not fit.
    """
    name = dtype_name(array.dtype)
    if name not in spec.dtypes:
        raise invalid(field, f"has dtype {name}; expected {' or '.join(spec.dtypes)}", Reason.INVALID_DTYPE)
    if not _fits(array.shape, spec.shape):
        raise invalid(
            field,
            f"has shape {array.shape}; expected {shape_text(spec.shape)}{_layout_hint(array.shape, spec)}",
            Reason.INVALID_SHAPE,
        )
    if array.dtype.kind == "f":
        _check_values(array, spec, field)


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(shape) == len(expected) and all(
        got > 0 if size == DYNAMIC else got == size for got, size in zip(shape, expected, strict=True)
    )


def with_rank(array: NDArray[Any], rank: int) -> NDArray[Any]:
    """Return an array of `rank` dimensions, leading axes of size 1 added or left out; as it is where that cannot be."""
    excess = array.ndim - rank
    if excess > 0 and any(size != 1 for size in array.shape[:excess]):
        return array
    return array.reshape((1,) * -excess + array.shape[max(0, excess) :])


def check_frames(visual: NDArray[Any], field: str) -> None:
    """Refuse a frame (of 1, T, 3, height, width) that was scaled to 0..1, whatever its dtype; a black one passes.

    Models divide by 255 themselves, and would score such a frame as a black scene.

    Raises:
        InvalidArgumentError: a frame's maximum is above 0 and at most 2.
    """
    for most in visual.reshape(visual.shape[1], -1).max(axis=1).tolist():
        if 0 < most <= _SCALED_MAX:
            raise invalid(
                field,
                f"has a frame with no value above {most:g}; expected 0 to 255, this looks scaled to 0..1",
                Reason.INVALID_VALUE,
            )


def check_history_length(history: NDArray[Any] | None, frames: int, spec: ModelSpec, field: str) -> None:
    """Check for one action between two frames; a model that scores by itself also takes one for each frame.

    Raises:
        InvalidArgumentError: there are others, or none where there should be.
    """
    if history is None:
        if frames > 1:
            raise invalid(
                field,
                f"is missing; {frames} observation frames need the {frames - 1} actions between them",
                Reason.MISSING_FIELD,
            )
        return
    if frames == 1 and not spec.reads_extra_info:
        raise invalid(field, "is set; one observation frame has no action before it", Reason.UNEXPECTED_FIELD)
    check_tensor(history, spec.action_history, field)
    actions = history.shape[1]
    if actions != frames - 1 and not (spec.reads_extra_info and actions == frames):
        raise invalid(
            field, f"has {actions} actions; {frames} observation frames need {frames - 1}", Reason.INVALID_SHAPE
        )


def check_deviations(
    array: NDArray[Any], mean: Sequence[float], std: Sequence[float], field: str, *, items: str = ""
) -> None:
    """Refuse values [..., n * d] further than `MAX_DEVIATIONS` from the mean.

    Args:
        array: finite floats.
        mean: d entries, or none for 0.
        std: d entries, or none for 1.
        field: named in the error.
        items: names the entries of axis 1, whose numbers the error lists; empty lists none.

    Raises:
        InvalidArgumentError: some are.
    """
    centre, scale = np.asarray(mean or (0.0,)), np.asarray(std or (1.0,))
    low, high = centre - MAX_DEVIATIONS * scale, centre + MAX_DEVIATIONS * scale
    if array.min() >= low.max() and array.max() <= high.min():
        return
    each = array.reshape(*array.shape[:-1], -1, len(low))
    beyond = (each < low) | (each > high)
    if beyond.any():
        raise invalid(
            field,
            f"has values beyond {MAX_DEVIATIONS:g} standard deviations{named(beyond, items)}; "
            "no model computes with them",
            Reason.INVALID_VALUE,
        )


def plainly_fit(candidates: NDArray[Any], spec: ModelSpec, statistics: Normalization | None) -> bool:
    """Return True for candidates that pass every check, as nearly all do, at a third of the checks' cost."""
    limits, shape = spec.limits, candidates.shape
    if candidates.dtype != np.float32 or len(shape) != 4 or shape[0] != 1 or shape[3] != spec.action_dim:
        return False
    samples, horizon = shape[1:3]
    steps = limits.max_candidate_steps or math.inf
    if not (0 < samples <= limits.max_samples and 0 < horizon <= limits.max_horizon and samples * horizon <= steps):
        return False
    least, most = _action_range(statistics)
    return bool(least <= candidates.min() and candidates.max() <= most)


@lru_cache(maxsize=64)
def _action_range(statistics: Normalization | None) -> tuple[float, float]:
    """Return the range that no dimension of an action may leave; None is of normalized ones."""
    mean, std = (statistics.action_mean, statistics.action_std) if statistics else ((0.0,), (1.0,))
    bounds = [
        (centre - MAX_DEVIATIONS * scale, centre + MAX_DEVIATIONS * scale)
        for centre, scale in zip(mean, std, strict=True)
    ]
    return max(low for low, _ in bounds), min(high for _, high in bounds)


def named(at_fault: NDArray[np.bool_], items: str) -> str:
    """Return " in samples 1, 4" of faults [1, S, ...], or nothing where `items` is empty."""
    if not items:
        return ""
    numbers = np.flatnonzero(at_fault.reshape(at_fault.shape[1], -1).any(axis=1))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f" in {items} {', '.join(map(str, numbers[:_NAMED]))}{more}"


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a published shape as errors write it: (1, any, 3, any, any)."""
    return f"({', '.join('any' if size == DYNAMIC else str(size) for size in shape)})"


def _layout_hint(shape: tuple[int, ...], spec: TensorSpec) -> str:
    is_visual = len(spec.shape) == 5 and spec.shape[2] == 3
    if is_visual and len(shape) >= 3 and shape[-1] == 3 and shape[-3] != 3:
        return "; channels come last: transpose to (3, H, W)"
    return ""


def _check_values(array: NDArray[Any], spec: TensorSpec, field: str) -> None:
    if array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)  # as models compute, to whom more than that is infinite
    low, high = float(array.min()), float(array.max())  # NaN if any value is
    if not (math.isfinite(low) and math.isfinite(high)):
        where = named(~np.isfinite(array), "samples") if field == "action_candidates" else ""
        raise invalid(field, f"holds NaN or infinite values{where}; expected finite numbers", Reason.NON_FINITE)
    if spec.value_range is None:
        return
    least, most = spec.value_range
    if low < least or high > most:
        raise invalid(
            field, f"has values from {low:g} to {high:g}; expected {least:g} to {most:g}", Reason.INVALID_VALUE
        )
