"""Converts numpy arrays, nested lists, torch and JAX tensors to the arrays that go on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.types import Observation
from worldforge_jepa_client.errors import invalid, nearest
from worldforge_jepa_client.reasons import Reason

_VISUAL_RANK, _PROPRIO_RANK = 5, 3
_AS_THEY_ARE = (np.dtype(np.float32), np.dtype(np.uint8))


def as_array(value: object, field: str, *, rank: int, least_rank: int = 0) -> NDArray[Any]:
    """Return `value` as a numeric array of `rank` dimensions, leading axes of size 1 added where it has fewer.

    Accepts numpy arrays, rectangular nested sequences, torch tensors (on any device, requiring grad or not), JAX
    arrays, and anything else with `__array__` or DLPack. uint8 stays uint8; every other number, bfloat16 included,
    becomes float32, which is what models compute in.

    Args:
        value: the array.
        field: named in errors.
        rank: dimensions of the result.
        least_rank: dimensions that `value` must have.

    Raises:
        InvalidArgumentError: not numeric, ragged, empty, masked, or of fewer dimensions than `least_rank`.
    """
    array = _to_numpy(value, field)
    if array.dtype.kind not in "uif":
        raise invalid(field, f"has dtype {array.dtype}; expected numbers", Reason.INVALID_DTYPE)
    if array.size == 0:
        raise invalid(field, f"is empty: shape {array.shape}", Reason.INVALID_SHAPE)
    if array.ndim < least_rank:
        ranks = rank if least_rank == rank else f"{least_rank} or {rank}"
        raise invalid(field, f"has shape {array.shape}; expected {ranks} dimensions", Reason.INVALID_SHAPE)
    if array.dtype != np.uint8:
        array = _single(array)
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def as_candidates(value: object, field: str = "action_candidates") -> NDArray[np.float32]:
    """Return candidates (1, S, H, A) or (S, H, A) as float32 (1, S, H, A).

    Two dimensions are refused: (S, A) would be one candidate of S steps.

    Raises:
        InvalidArgumentError: as `as_array`.
    """
    return _single(as_array(value, field, rank=4, least_rank=3))


def as_history(value: object) -> NDArray[np.float32]:
    """Return past actions (1, T-1, A) or (T-1, A) as float32 (1, T-1, A); raises as `as_array` does."""
    return _single(as_array(value, "context.action_history", rank=3, least_rank=2))


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
        hint = nearest(unknown[0], ("visual", "proprio"))
        raise invalid(
            field, f"has unknown keys {', '.join(unknown)}; expected visual, proprio{hint}", Reason.UNKNOWN_FIELD
        )
    if parts.get("visual") is None:
        raise invalid(f"{field}.visual", "is missing", Reason.MISSING_FIELD)
    visual = as_array(parts["visual"], f"{field}.visual", rank=_VISUAL_RANK)
    proprio = parts.get("proprio")
    if proprio is None:
        return Observation(visual)
    return Observation(visual, _single(as_array(proprio, f"{field}.proprio", rank=_PROPRIO_RANK, least_rank=1)))


def _single(array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype == np.float32:
        return array
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which the spec's check refuses
        return array.astype(np.float32, copy=False)


def _to_numpy(value: object, field: str) -> NDArray[Any]:
    if type(value) is np.ndarray and value.dtype in _AS_THEY_ARE:
        return value
    if value is None:
        raise invalid(field, "is missing", Reason.MISSING_FIELD)
    try:
        plain = _plain(value, field)
        if hasattr(plain, "__dlpack__") and not hasattr(plain, "__array__"):
            return np.from_dlpack(plain)
        array = np.asarray(plain)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise invalid(field, f"is not a rectangular array of numbers: {error}", Reason.INVALID_TYPE) from error
    if array.dtype == object:
        raise invalid(field, "is not a rectangular array of numbers", Reason.INVALID_TYPE)
    # The only float that numpy knows by name alone: from JAX and ml_dtypes.
    return _single(array) if array.dtype.name == "bfloat16" else array


def _plain(value: Any, field: str) -> Any:
    """Return what numpy can read of a value, or of each item of a sequence of arrays."""
    if isinstance(value, np.ma.MaskedArray):
        if np.any(value.mask):
            raise invalid(field, "has masked entries; fill them first, as with .filled(value)", Reason.INVALID_TYPE)
        return value.data
    if isinstance(value, (list, tuple)) and value and not isinstance(value[0], (int, float)):
        return [_plain(item, field) for item in value]
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # a torch tensor, which need not be installed
        tensor = value.detach().cpu()
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return value
