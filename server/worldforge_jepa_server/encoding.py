"""Observations and goals to latents, each content once. Runs on the device thread."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.calls import Observation as ObservationArrays
from worldforge_jepa_client.calls import Scene
from worldforge_jepa_server.contexts import Cache
from worldforge_jepa_server.models.contract import Latents, Observation, ServedModel


@dataclass(frozen=True)
class EncodedScene:
    """A scene as its model keeps it: `start` T frames, `goal` one or None.

    `action_history` is (1, T-1, A) as it was sent, or None.
    """

    start: Latents
    goal: Latents | None
    action_history: NDArray[Any] | None

    @property
    def size(self) -> int:
        """Bytes."""
        history = 0 if self.action_history is None else self.action_history.nbytes
        return history + _size(self.start) + (_size(self.goal) if self.goal else 0)


class Encoder:
    """Encodes through a cache: frames whose content was seen lately are not encoded again.

    Args:
        cache: latents by model and content.
    """

    def __init__(self, cache: Cache[Latents]) -> None:
        self._cache = cache

    @torch.inference_mode()
    def encode_scene(self, model: ServedModel, scene: Scene) -> EncodedScene:
        """Encode a checked scene; of the goal's frames only the last counts."""
        assert scene.observation is not None
        start = self.encode(model, scene.observation)
        goal = None if scene.goal is None else self.encode(model, _last_frame(scene.goal))
        return EncodedScene(start, goal, scene.action_history)

    @torch.inference_mode()
    def encode(self, model: ServedModel, frames: ObservationArrays) -> Latents:
        """Encode frames, or return what they were encoded to."""
        key = (model.spec.name, _digest(frames))
        latents = self._cache.get(key)
        if latents is None:
            latents = model.encode(_to_device(frames, model.spec.device))
            self._cache.put(key, latents, _size(latents))
        return latents


def _last_frame(frames: ObservationArrays) -> ObservationArrays:
    proprio = frames.proprio
    return ObservationArrays(frames.visual[:, -1:], None if proprio is None else proprio[:, -1:])


def _digest(frames: ObservationArrays) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in (frames.visual, frames.proprio):
        if array is not None:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _size(latents: Latents) -> int:
    tensors = (latents.visual, latents.proprio)
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors if tensor is not None)


def _to_device(frames: ObservationArrays, device: str) -> Observation:
    return Observation(
        torch.tensor(frames.visual, device=device),
        None if frames.proprio is None else _floats(frames.proprio, device),
    )


def _floats(array: NDArray[Any], device: str) -> Tensor:
    return torch.tensor(array, device=device, dtype=torch.float32)
