"""Observations, goals and actions to the device. Frames are encoded once per content. Runs on the device thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.digest import content_digest
from worldforge_jepa_client.contract.types import Observation as ObservationArrays
from worldforge_jepa_client.contract.types import Scene
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.models.contract import Latents, Observation, ScoringModel, ServedModel


@dataclass(frozen=True)
class EncodedScene:
    """A scene in a model's latents.

    Attributes:
        start: the T newest frames, as many as the model looks back on; batch 1.
        goal: one frame, batch 1, or None.
        action_history: (1, T-1, A), in the units of the request; None if T is 1.
    """

    start: Latents
    goal: Latents | None
    action_history: NDArray[Any] | None

    @property
    def frames(self) -> int:
        """T."""
        return self.start.visual.shape[1]

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        history = 0 if self.action_history is None else self.action_history.nbytes
        return history + _size(self.start) + (_size(self.goal) if self.goal else 0)


class SceneHandle:
    """A scene that a call works in; encoded on first use.

    Args:
        frames: T of the encoded scene.
        goal: the goal, encoded or not; only whether it has proprio matters.
        encode: encodes the scene on the device thread.
        has_history: whether it has actions between its frames.
    """

    def __init__(self, frames: int, goal: object, encode: Callable[[], EncodedScene], *, has_history: bool) -> None:
        self.frames, self.goal, self.has_history = frames, goal, has_history
        self._encode = encode
        self._encoded: EncodedScene | None = None

    @classmethod
    def of(cls, scene: EncodedScene) -> SceneHandle:
        """Return the handle of a scene that is encoded already."""
        return cls(scene.frames, scene.goal, lambda: scene, has_history=scene.action_history is not None)

    def encoded(self) -> EncodedScene:
        """Encode the scene, or return it if it is encoded already. On the device thread."""
        if self._encoded is None:
            self._encoded = self._encode()
        return self._encoded


class Encoder:
    """Encodes through a cache: content that was encoded lately is not encoded again.

    Args:
        cache: latents by model and content.

    Attributes:
        hits: how many frames and goals were in the cache; `misses`, how many were encoded.
    """

    def __init__(self, cache: Cache[Latents]) -> None:
        self._cache = cache
        self.hits = self.misses = 0

    @torch.inference_mode()
    def encode_scene(self, model: ServedModel, scene: Scene) -> EncodedScene:
        """Encode a checked scene: the frames of the model's window, and the goal's last frame."""
        assert scene.observation is not None
        frames = frames_kept(model, scene)
        start = self.encode(model, _newest(scene.observation, frames))
        goal = None if scene.goal is None else self.encode(model, _newest(scene.goal, 1), is_goal=True)
        return EncodedScene(start, goal, _history_kept(model, scene, frames))

    @torch.inference_mode()
    def encode(self, model: ServedModel, frames: ObservationArrays, is_goal: bool = False) -> Latents:
        """Return the latents of frames [1, T, N, D], from the cache if they are there."""
        key = (model.spec.name, is_goal, content_digest({"visual": frames.visual, "proprio": frames.proprio}))
        latents = self._cache.get(key)
        if latents is not None:
            self.hits += 1
        else:
            self.misses += 1
            latents = model.encode(_to_device(frames, model.spec.device, is_goal))
            self._cache.put(key, latents, _size(latents))
        return latents


def frames_kept(model: ServedModel, scene: Scene) -> int:
    """Return T of the encoded scene: at most the model's window; a model that scores by itself gets all frames."""
    assert scene.observation is not None
    frames = len(scene.observation.visual[0])
    return frames if isinstance(model, ScoringModel) else min(frames, model.spec.context_window)


def _history_kept(model: ServedModel, scene: Scene, frames: int) -> NDArray[Any] | None:
    """Return the actions between the frames kept; a model that scores by itself gets all that came."""
    history = scene.action_history
    if history is None or isinstance(model, ScoringModel):
        return history
    return None if frames == 1 else history[:, 1 - frames :]


def _newest(frames: ObservationArrays, count: int) -> ObservationArrays:
    proprio = frames.proprio
    return ObservationArrays(frames.visual[:, -count:], None if proprio is None else proprio[:, -count:])


def _size(latents: Latents) -> int:
    tensors = (latents.visual, latents.proprio)
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors if tensor is not None)


def _to_device(frames: ObservationArrays, device: str, is_goal: bool) -> Observation:
    proprio = None if frames.proprio is None else _moved(torch.tensor(frames.proprio, dtype=torch.float32), device)
    return Observation(_moved(torch.tensor(frames.visual), device), proprio, is_goal)


def _moved(tensor: Tensor, device: str) -> Tensor:
    """Return a host's tensor on a device; CUDA reads it from pinned memory while the host goes on."""
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_actions(model: ServedModel, actions: NDArray[Any] | Tensor, are_normalized: bool) -> Tensor:
    """Return a request's actions [..., A] normalized, float32, on the model's device; a tensor is that already."""
    if isinstance(actions, Tensor):
        return actions
    tensor = _moved(torch.from_numpy(np.array(actions, np.float32)), model.spec.device)
    return tensor if are_normalized else model.normalize_actions(tensor)


def history_of(model: ServedModel, scene: EncodedScene, is_normalized: bool) -> Tensor | None:
    """Return the normalized actions between a scene's frames, [1, T-1, A]; None if T is 1."""
    history = scene.action_history
    return None if history is None else to_actions(model, history, is_normalized)
