"""Figures as JSON, and those of the logs that stand beside what the model publishes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.diagnosis.logs.episodes import Array, Episode

DIGITS = 5
"""Significant digits of every figure."""


def plain(value: Any) -> Any:
    """Return JSON: dataclasses and named tuples as objects, arrays as lists, what is not finite as null."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {
            item.name: plain(getattr(value, item.name))
            for item in fields(value)
            if not callable(getattr(value, item.name))
        }
    if hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def logged_statistics(episodes: list[Episode], spec: ModelSpec) -> dict[str, Any]:
    """Mean and deviation of what was logged, beside what the model publishes."""
    published, found = spec.normalization, {}
    actions = np.concatenate([episode.actions for episode in episodes])
    found["actions"] = _beside(actions, published and (published.action_mean, published.action_std))
    if episodes[0].proprio is not None:
        proprio = np.concatenate([np.asarray(episode.proprio) for episode in episodes])
        found["proprio"] = _beside(proprio, published and (published.proprio_mean, published.proprio_std))
    pixels = np.stack([np.asarray(episode.frames[0], np.float64).mean(axis=(1, 2)) for episode in episodes])
    found["pixels"] = _beside(pixels, None)
    return found


def _beside(values: Array, published: Any) -> dict[str, Any]:
    mean, std = published or (None, None)
    return {"mean": values.mean(axis=0), "std": values.std(axis=0), "model_mean": mean, "model_std": std}


def initial_std(episodes: list[Episode], spec: ModelSpec, normalized: bool) -> float:
    """Return the deviation of the logged actions in the units that the model plans in.

    Args:
        episodes: the log.
        spec: of the model.
        normalized: whether the logged actions have those units already.
    """
    std = np.concatenate([episode.actions for episode in episodes]).std(axis=0)
    units = 1.0 if normalized or spec.normalization is None else np.array(spec.normalization.action_std)
    return float(np.sqrt(np.mean(np.square(std / units))))
