"""A scene and candidates of noise that fit any model's spec: for checking a path, not a policy.

Letters: S samples (candidates), H horizon, A packed action dim, T context frames, P proprio dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.digest import content_digest
from worldforge_jepa_client.contract.spec import DYNAMIC, ModelSpec
from worldforge_jepa_client.contract.types import Scene
from worldforge_jepa_client.errors import FailedPreconditionError
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.inputs.scalars import as_int
from worldforge_jepa_client.reasons import Reason

Arrays = dict[str, NDArray[Any]]

_SIDE = 64  # px, where a model takes images of any size
_ANY = 8  # entries of a dimension of any size, where a model takes no images


def synthetic_arrays(
    spec: ModelSpec,
    *,
    samples: int,
    horizon: int,
    seed: int,
    action_dim: int | None = None,
    frames: int | None = None,
    image_size: int | None = None,
) -> Arrays:
    """Return the arrays of one score, under the names they have in WorldForge's `info`; equal seeds give equal arrays.

    "observation" uint8 (1, T, 3, height, width), "goal" likewise with T = 1, "action_candidates" float32 (1, S, H, A),
    normalized; where the model takes them "observation_proprio" and "goal_proprio" float32 (1, T, P), raw, drawn from
    the model's statistics; where T > 1 "action_history" float32 (1, T-1, A), normalized. For a model that takes no
    frames, observation and goal are float32 in 0..1 of its shape, and T is 1. By default A is what the model publishes,
    T (`frames`) its context window, height and width (`image_size`, px) what it takes, or 64.

    Raises:
        InvalidArgumentError: a number is too small.
        FailedPreconditionError: no `action_dim`, and the model publishes none.
    """
    _check_counts(samples=samples, horizon=horizon, action_dim=action_dim, frames=frames, image_size=image_size)
    rng = np.random.default_rng(as_int(seed, "seed", min=0))
    packed = action_dim or _action_dim(spec)
    count = (frames or min(spec.context_window, spec.limits.max_context_frames)) if spec.takes_frames else 1
    arrays: Arrays = {
        name: _visual(spec, size, image_size, rng) for name, size in (("observation", count), ("goal", 1))
    }
    if spec.proprio is not None:
        arrays |= {"observation_proprio": _proprio(spec, count, rng), "goal_proprio": _proprio(spec, 1, rng)}
    if count > 1:
        arrays["action_history"] = _noise((1, count - 1, packed), rng)
    return arrays | {"action_candidates": _noise((1, samples, horizon, packed), rng)}


def scene_of(arrays: Mapping[str, NDArray[Any]]) -> Scene:
    """Return the scene of `synthetic_arrays`."""
    observation, goal = (
        {"visual": arrays[name], "proprio": arrays.get(f"{name}_proprio")} for name in ("observation", "goal")
    )
    return build_scene(observation, goal, arrays.get("action_history"))


def digest(arrays: Arrays) -> str:
    """Return "sha256:<hex>" of names, dtypes, shapes and values, in the order of the names."""
    return f"sha256:{content_digest(arrays).hex()}"


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None:
            as_int(value, name, min=1)


def _action_dim(spec: ModelSpec) -> int:
    if spec.action_dim <= 0:
        raise FailedPreconditionError(
            f"model {spec.name} does not publish the size of its actions", reason=Reason.NO_ACTION_DIM
        )
    return spec.action_dim


def _visual(spec: ModelSpec, frames: int, side: int | None, rng: np.random.Generator) -> NDArray[Any]:
    if not spec.takes_frames:
        return rng.random([_ANY if length == DYNAMIC else length for length in spec.visual.shape], np.float32)
    height, width = (side or (_SIDE if length == DYNAMIC else length) for length in spec.visual.shape[3:])
    return rng.integers(0, 256, (1, frames, 3, height, width), np.uint8)


def _proprio(spec: ModelSpec, frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
    noise = _noise((1, frames, spec.proprio_dim), rng)
    statistics = spec.normalization
    if statistics is None or not statistics.proprio_mean:
        return noise
    return (noise * statistics.proprio_std + statistics.proprio_mean).astype(np.float32)


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)
