"""Converts a caller's numbers, booleans and strings to those of the wire."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any

import numpy as np

from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason


def as_bool(value: object, field: str) -> bool:
    """Return True or False.

    Raises:
        InvalidArgumentError: any other value; its truth might be the opposite of its meaning, as with "false".
    """
    if not isinstance(value, bool | np.bool_):
        raise invalid(field, f"is {value!r}; expected true or false", Reason.INVALID_TYPE)
    return bool(value)


def as_str(value: object, field: str) -> str:
    """Return a string, the empty one for None; InvalidArgumentError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid(field, f"is {value!r}; expected a string", Reason.INVALID_TYPE)
    return value


def as_float(value: object, field: str) -> float:
    """Return a float, infinite for an integer beyond float; InvalidArgumentError for anything but a number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise invalid(field, f"is {value!r}; expected a number", Reason.INVALID_TYPE)
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def as_seconds(value: object, field: str) -> float:
    """Return a duration in seconds; infinite is none.

    Raises:
        InvalidArgumentError: NaN, negative, or no number.
    """
    seconds = as_float(value, field)
    if math.isnan(seconds) or seconds < 0:
        raise invalid(field, f"is {seconds}; expected seconds, at least 0", Reason.INVALID_VALUE)
    return seconds


def as_int(value: Any, field: str, *, min: int = -(2**63), max: int = 2**63 - 1) -> int:
    """Return an int, of any integer type; InvalidArgumentError for anything else, and beyond `min` to `max`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise invalid(field, f"is {value!r}; expected a whole number", Reason.INVALID_TYPE) from None
    if not min <= number <= max:
        raise invalid(field, f"is {number}; expected {min} to {max}", Reason.INVALID_VALUE)
    return number


def as_ints(values: Any, field: str) -> tuple[int, ...]:
    """Return the ints of any sequence of integers; InvalidArgumentError for anything else."""
    try:
        each = list(values)
    except TypeError:
        raise invalid(field, f"is {values!r}; expected whole numbers", Reason.INVALID_TYPE) from None
    return tuple(as_int(value, field) for value in each)
