"""The cases of tests/fixtures that must fail, and their errors. Needs numpy alone, as WorldForge's tests do.

In them {"shape", "dtype", "fill", "first"} is an array, float32 zeros unless it says otherwise, `first` being its first
element; with "nested" it is one of nested lists. {"pairs"} is an object whose keys need not be strings, {"repeated",
"times"} a long text. In an expected message "..." is any text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).parents[1] / "fixtures"


def read(family: str) -> dict[str, Any]:
    """A family's cases by name."""
    return json.loads((FIXTURES / f"{family}.json").read_text(encoding="utf-8"))


def value_of(notation: Any) -> Any:
    """Return the value that a case's notation stands for."""
    if isinstance(notation, list):
        return [value_of(item) for item in notation]
    if not isinstance(notation, dict):
        return notation
    if "shape" in notation:
        return _array(**notation)
    if "pairs" in notation:
        return dict(notation["pairs"])
    if "repeated" in notation:
        return notation["repeated"] * notation["times"]
    return {key: value_of(value) for key, value in notation.items()}


def sent(good: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """A good request, its values by dotted path, with a case's changes."""
    changes = case.get("sent", {})
    gone = tuple(f"{path}." for path in (*changes, *case.get("without", ())))
    kept = {path: value for path, value in good.items() if not f"{path}.".startswith(gone)}
    return {path: value_of(value) for path, value in (kept | changes).items()}


def assert_says(text: str, expected: str) -> None:
    pattern = ".*".join(map(re.escape, expected.split("...")))
    assert re.fullmatch(pattern, text, re.DOTALL), f"{text!r} is not {expected!r}"


def _array(
    shape: list[int],
    dtype: str = "float32",
    fill: float | str = 0,
    first: float | str | None = None,
    nested: bool = False,
) -> Any:
    array = np.full(shape, float(fill)).astype(dtype)
    if first is not None:
        array.flat[0] = float(first)
    return array.tolist() if nested else array
