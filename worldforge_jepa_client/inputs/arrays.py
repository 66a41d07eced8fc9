"""What callers have in hand (numpy, nested lists, torch or JAX tensors) to the arrays that go on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.types import Observation
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason

_VISUAL_RANK, _PROPRIO_RANK = 5, 3


def as_array(value: object, field: str, *, rank: int) -> NDArray[Any]:
    """Return `value` as a numeric array of `rank` dimensions, leading axes of size 1 added where it has fewer.

    Accepts numpy arrays, rectangular nested sequences, and anything with `__array__` or DLPack. uint8 stays uint8;
    every other number becomes float32, which is what models compute in.

    Raises:
        InvalidArgumentError: not numeric, ragged or empty.
    """
    array = _to_numpy(value, field)
    if array.dtype.kind not in "uif":
        raise invalid(field, f"has dtype {array.dtype}; expected numbers", Reason.INVALID_DTYPE)
    if array.size == 0:
        raise invalid(field, f"is empty: shape {array.shape}", Reason.INVALID_SHAPE)
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which the spec's check refuses
            array = array.astype(np.float32, copy=False)
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def as_observation(value: object, field: str) -> Observation:
    """Return an Observation from one, from a mapping {"visual", "proprio"}, or from a bare visual array.

    `visual` may be (1, T, 3, height, width), (T, 3, height, width) or (3, height, width); `proprio` (1, T, P),
    (T, P) or (P,).

    Raises:
        InvalidArgumentError: unknown or missing keys, or an array that `as_array` refuses.
    """
    if value is None:
        raise invalid(field, "is missing", Reason.MISSING_FIELD)
    if isinstance(value, Observation):
        value = {"visual": value.visual, "proprio": value.proprio}
    parts = value if isinstance(value, Mapping) else {"visual": value}
    unknown = sorted(str(key) for key in parts if key not in ("visual", "proprio"))
    if unknown:
        raise invalid(field, f"has unknown keys {', '.join(unknown)}; expected visual, proprio", Reason.UNKNOWN_FIELD)
    if parts.get("visual") is None:
        raise invalid(f"{field}.visual", "is missing", Reason.MISSING_FIELD)
    visual = as_array(parts["visual"], f"{field}.visual", rank=_VISUAL_RANK)
    proprio = parts.get("proprio")
    if proprio is None:
        return Observation(visual)
    array = as_array(proprio, f"{field}.proprio", rank=_PROPRIO_RANK).astype(np.float32, copy=False)
    return Observation(visual, array)


def _to_numpy(value: object, field: str) -> NDArray[Any]:
    if value is None:
        raise invalid(field, "is missing", Reason.MISSING_FIELD)
    try:
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise invalid(field, f"is not a rectangular array of numbers: {error}", Reason.INVALID_TYPE) from error
    if array.dtype == object:
        raise invalid(field, "is not a rectangular array of numbers", Reason.INVALID_TYPE)
    return array
