"""Logged episodes, checked: frames and raw actions of every environment step, and proprio where there is any.

Letters: T raw steps of an episode, a raw action dim, P proprio dim.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.spec import ModelSpec

Array = NDArray[Any]
Ints = NDArray[np.int64]

MOST_EPISODES = 64
"""Episodes that are read of a source: more would cost memory and narrow no interval that matters."""

MOST_STEPS = 1000
"""Raw steps that are kept of an episode, its first ones."""

MOST_BYTES = 2 << 30
"""Bytes of frames after which no further episode is read; they are kept in memory."""


@dataclass(frozen=True)
class Episode:
    """One logged episode: `frames` (T + 1, 3, height, width), raw `actions` (T, a), `proprio` (T + 1, P) or None."""

    name: str
    frames: Array
    actions: Array
    proprio: Array | None

    @property
    def steps(self) -> int:
        """T."""
        return len(self.actions)


@dataclass(frozen=True)
class Broken:
    """An episode that cannot be used, and why."""

    name: str
    problem: str


@dataclass(frozen=True)
class Keys:
    """The names of an episode's arrays; None has the known names tried."""

    frames: str | None = None
    actions: str | None = None
    proprio: str | None = None


KNOWN_KEYS = {
    "frames": ("frames", "pixels", "observation.image", "obs/agentview_image", "obs/image"),
    "actions": ("actions", "action"),
    "proprio": ("proprio", "state", "observation.state", "obs/robot0_eef_pos"),
}
"""Names tried in turn: this project's, stable-worldmodel's, LeRobot's, robomimic's."""

Raw = tuple[str, Mapping[str, Any] | Exception]
"""An episode as a source gives it: its name, and its arrays by key or the error that reading it raised."""


def check_episodes(
    raw: Iterable[Raw], keys: Keys, spec: ModelSpec, least_steps: int
) -> tuple[list[Episode], list[Broken]]:
    """Return the first `MOST_EPISODES` good episodes, and those met before that are broken.

    Args:
        raw: from a source of `sources`.
        keys: the names of the arrays.
        spec: of the model that is diagnosed.
        least_steps: raw steps that one window needs.
    """
    good: list[Episode] = []
    broken: list[Broken] = []
    for name, arrays in raw:
        try:
            good.append(_checked(name, arrays, keys, spec, least_steps))
        except Exception as error:  # a file may be broken in any way, and is named for it
            broken.append(Broken(name, f"{error}" or type(error).__name__))
        if len(good) == MOST_EPISODES or sum(each.frames.nbytes for each in good) > MOST_BYTES:
            break
    return good, broken


def _checked(name: str, arrays: Mapping[str, Any] | Exception, keys: Keys, spec: ModelSpec, least: int) -> Episode:
    if isinstance(arrays, Exception):
        raise arrays
    actions = _matrix(_find(arrays, "actions", keys.actions), "actions")[:MOST_STEPS]
    frames = _channels_first(np.asarray(_find(arrays, "frames", keys.frames)[: MOST_STEPS + 1]))
    steps = min(len(actions), len(frames) - 1)
    if abs(len(actions) + 1 - len(frames)) > 1:
        raise ValueError(f"frames has {len(frames)} and actions {len(actions)} entries; expected T + 1 and T")
    if steps < least:
        raise ValueError(f"has {steps} steps; a window needs {least}")
    if spec.raw_action_dim > 0 and actions.shape[1] != spec.raw_action_dim:
        raise ValueError(f"actions has {actions.shape[1]} entries a step; the model takes {spec.raw_action_dim}")
    # With a frame an action, as robomimic and stable-worldmodel log, the last action leads nowhere and may be NaN.
    return Episode(name, frames[: steps + 1], _finite(actions[:steps], "actions"), _proprio(arrays, keys, spec, steps))


def _proprio(arrays: Mapping[str, Any], keys: Keys, spec: ModelSpec, steps: int) -> Array | None:
    """Proprio where the model takes any; what it does not take is left out."""
    if spec.proprio is None:
        return None
    proprio = _matrix(_find(arrays, "proprio", keys.proprio), "proprio")
    if proprio.shape[1] != spec.proprio_dim > 0:
        raise ValueError(f"proprio has {proprio.shape[1]} entries; the model takes {spec.proprio_dim}")
    if len(proprio) < steps + 1:
        raise ValueError(f"proprio has {len(proprio)} entries; expected {steps + 1}, one a frame")
    return _finite(proprio[: steps + 1], "proprio")


def _find(arrays: Mapping[str, Any], part: str, key: str | None) -> Any:
    names = (key,) if key else KNOWN_KEYS[part]
    for name in names:
        if name in arrays:
            return arrays[name]
    raise KeyError(f"has no key {' or '.join(names)}; it has {', '.join(sorted(map(str, arrays)))}")


def _matrix(values: Any, part: str) -> Array:
    array = np.asarray(values, np.float32)
    if array.ndim != 2:
        raise ValueError(f"{part} has shape {array.shape}; expected (steps, entries)")
    return array


def _finite(array: Array, part: str) -> Array:
    if not np.isfinite(array).all():
        raise ValueError(f"{part} holds NaN or infinite values")
    return array


def _channels_first(frames: Array) -> Array:
    if frames.ndim != 4 or 3 not in (frames.shape[1], frames.shape[3]):
        raise ValueError(f"frames has shape {frames.shape}; expected (T + 1, 3, height, width), or channels last")
    return _finite(frames if frames.shape[1] == 3 else np.moveaxis(frames, 3, 1), "frames")
