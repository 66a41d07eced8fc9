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


def synthetic_arrays(spec: ModelSpec, *, samples: int, horizon: int, seed: int) -> Arrays:
    """Return the arrays of one score, under the names they have in WorldForge's `info`; equal seeds give equal arrays.

    "observation" uint8 (1, T, 3, height, width) with T the model's context window, "goal" likewise with T = 1,
    "action_candidates" float32 (1, S, H, A), normalized; where the model takes them "observation_proprio" and
    "goal_proprio" float32 (1, T, P), raw, drawn from the model's statistics; where T > 1 "action_history" float32
    (1, T-1, A), normalized.

    Raises:
        InvalidArgumentError: less than one sample or step, or a negative seed.
        FailedPreconditionError: the model does not publish the size of its actions.
    """
    for name, value, least in (("samples", samples, 1), ("horizon", horizon, 1), ("seed", seed, 0)):
        as_int(value, name, min=least)
    if spec.action_dim <= 0:
        raise FailedPreconditionError(
            f"model {spec.name} does not publish the size of its actions", reason=Reason.NO_ACTION_DIM
        )
    rng = np.random.default_rng(seed)
    frames = min(spec.context_window, spec.limits.max_context_frames)
    arrays: Arrays = {"observation": _images(spec, frames, rng), "goal": _images(spec, 1, rng)}
    if spec.proprio is not None:
        arrays |= {"observation_proprio": _proprio(spec, frames, rng), "goal_proprio": _proprio(spec, 1, rng)}
    if frames > 1:
        arrays["action_history"] = _noise((1, frames - 1, spec.action_dim), rng)
    return arrays | {"action_candidates": _noise((1, samples, horizon, spec.action_dim), rng)}


def scene_of(arrays: Mapping[str, NDArray[Any]]) -> Scene:
    """Return the scene of `synthetic_arrays`."""
    observation, goal = (
        {"visual": arrays[name], "proprio": arrays.get(f"{name}_proprio")} for name in ("observation", "goal")
    )
    return build_scene(observation, goal, arrays.get("action_history"))


def digest(arrays: Arrays) -> str:
    """Return "sha256:<hex>" of names, dtypes, shapes and values, in the order of the names."""
    return f"sha256:{content_digest(arrays).hex()}"


def _images(spec: ModelSpec, frames: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    size = [_SIDE if length == DYNAMIC else length for length in spec.visual.shape[2:]]
    return rng.integers(0, 256, (1, frames, *size), np.uint8)


def _proprio(spec: ModelSpec, frames: int, rng: np.random.Generator) -> NDArray[np.float32]:
    noise = _noise((1, frames, spec.proprio_dim), rng)
    statistics = spec.normalization
    if statistics is None or not statistics.proprio_mean:
        return noise
    return (noise * statistics.proprio_std + statistics.proprio_mean).astype(np.float32)


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)
