"""Normalization statistics of a fine-tuned model, from a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldforge_jepa_client.contract.spec import Normalization
from worldforge_jepa_server.models.contract import ModelLoadError


def read_statistics(path: Path, published: Normalization) -> Normalization:
    """Read `action_mean`, `action_std`, `proprio_mean` and `proprio_std`, each as long as the published ones.

    Proprio's are not read where the model takes none; other keys are ignored.

    Raises:
        ModelLoadError: no such file, no JSON, or a list that is missing, of another length, or not finite and, for a
            deviation, above 0.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"statistics={path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"statistics={path}: holds a {type(content).__name__}, expected an object of lists")
    return Normalization(**{key: _entries(path, content, key, len(value)) for key, value in vars(published).items()})


def _entries(path: Path, content: Mapping[str, Any], key: str, count: int) -> tuple[float, ...]:
    if not count:
        return ()
    entries = content.get(key)
    is_valid = isinstance(entries, list) and len(entries) == count and all(_is_valid(key, entry) for entry in entries)
    if not is_valid:
        bound = " above 0" if key.endswith("_std") else ""
        raise ModelLoadError(f"statistics={path}: {key} is {entries!r}, expected {count} finite numbers{bound}")
    return tuple(map(float, entries or ()))


def _is_valid(key: str, entry: object) -> bool:
    is_number = isinstance(entry, int | float) and not isinstance(entry, bool) and math.isfinite(entry)
    return is_number and (not key.endswith("_std") or float(str(entry)) > 0)
