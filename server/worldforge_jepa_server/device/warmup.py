"""Warm-up: scores zeros once, so that no caller pays for allocations and kernel choices, and measures memory."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from worldforge_jepa_client.contract.spec import DYNAMIC, MemoryUse
from worldforge_jepa_client.contract.types import Observation, Scene, ScoreOptions
from worldforge_jepa_server.device.batching import ScoreJob
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.device.encoding import EncodedScene, Encoder, SceneHandle
from worldforge_jepa_server.device.memory import peak_bytes
from worldforge_jepa_server.device.runner import LatentScores
from worldforge_jepa_server.device.scoring import non_finite
from worldforge_jepa_server.models.contract import Latents, ModelLoadError, ScoringModel, ServedModel, WorldModel
from worldforge_jepa_server.models.precision import end_compiling, uncompiled
from worldforge_jepa_server.scheduling.scheduler import Slice

_PIXELS = 224  # also where an encoder takes no other size
_SAMPLES = 2  # not 1, for which torch compiles apart
_FEW, _MANY = 1, 3


def warm_up(model: ServedModel) -> MemoryUse | None:
    """Score zeros; return the device memory that the model needs.

    The window fills and slides: compiled code has then met its shapes, and compiles no more. A model that cannot score
    what its own spec allows fails here, before the server is ready. A model that scores by itself, or does not say what
    actions it takes, is left alone: zeros might be no scene to it.

    Raises:
        ModelLoadError: the model failed.
    """
    if isinstance(model, ScoringModel) or model.spec.action_dim == DYNAMIC:
        return model.spec.memory
    try:
        return _measure(model)
    except Exception as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""  # the operator reads this, no caller
        raise ModelLoadError(
            f"model {model.spec.name} was loaded, but cannot score zeros: {type(error).__name__}: {error}{cause}"
        ) from error


def _measure(model: WorldModel) -> MemoryUse:
    scene = _zeros(model)
    _score(model, [scene], _SAMPLES)
    _score_apart(model, scene, _SAMPLES)
    if model.spec.compiled:
        end_compiling()
    with uncompiled() if model.spec.compiled else contextlib.nullcontext():
        few, many = (
            peak_bytes(model.spec.device, partial(_score_apart, model, scene, samples)) for samples in (_FEW, _MANY)
        )
    return replace(model.spec.memory or MemoryUse(0, 0), bytes_per_sample=max(0, many - few) // (_MANY - _FEW))


def _zeros(model: WorldModel) -> EncodedScene:
    spec = model.spec
    frames = Observation(
        np.zeros([_PIXELS if size == DYNAMIC else size for size in (1, 1, *spec.visual.shape[2:])], np.uint8),
        np.zeros((1, 1, spec.proprio_dim), np.float32) if spec.proprio else None,
    )
    return Encoder(Cache(max_bytes=0, ttl=0)).encode_scene(model, Scene(frames, frames))


def _score_apart(model: WorldModel, scene: EncodedScene, samples: int) -> None:
    """Score candidates each in a scene of its own, which takes the most memory."""
    _score(model, [replace(scene, start=_copy(scene.start)) for _ in range(samples)], 1)


def _score(model: WorldModel, scenes: list[EncodedScene], samples: int) -> None:
    """Score `samples` candidates in each of the scenes together, until the window has slid."""
    spec = model.spec
    runner = LatentScores(model, spec, chunk=samples * len(scenes))
    zeros = np.zeros((samples, spec.context_window + 1, spec.action_dim), np.float32)
    slices = []
    for scene in scenes:
        handle = SceneHandle.of(scene)
        job = ScoreJob(runner, handle, ScoreOptions(), zeros.shape, zeros)
        if error := job.begin(model):
            raise error
        slices.append(Slice(job, 0, samples, last=True))
    scores = runner.measure(slices).numpy(force=True)
    if not np.isfinite(scores).all():
        raise non_finite(scores, torch.zeros(len(scores), 1, 1))


def _copy(latents: Latents) -> Latents:
    return Latents(latents.visual.clone(), None if latents.proprio is None else latents.proprio.clone())
