"""Observations and goals to latents, each content once. Runs on the device thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """A scene as its model keeps it.

    `start` has the T frames that the model looks back on, `goal` one or is None, `action_history` is (1, T-1, A), in
    the units it was sent in, or None where T is 1.
    """

    start: Latents
    goal: Latents | None
    action_history: NDArray[Any] | None

    @property
    def frames(self) -> int:
        """T."""
        return len(self.start.visual[0])

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
        """Encode what counts of a checked scene: the frames of the model's window, and the goal's last."""
        assert scene.observation is not None
        frames = frames_kept(model, scene)
        start = self.encode(model, _newest(scene.observation, frames))
        goal = None if scene.goal is None else self.encode(model, _newest(scene.goal, 1), is_goal=True)
        history = scene.action_history
        return EncodedScene(start, goal, None if history is None or frames == 1 else history[:, 1 - frames :])

    @torch.inference_mode()
    def encode(self, model: ServedModel, frames: ObservationArrays, is_goal: bool = False) -> Latents:
        """Encode frames, or return what they were encoded to."""
        key = (model.spec.name, is_goal, content_digest({"visual": frames.visual, "proprio": frames.proprio}))
        latents = self._cache.get(key)
        if latents is None:
            latents = model.encode(_to_device(frames, model.spec.device, is_goal))
            self._cache.put(key, latents, _size(latents))
        return latents


def frames_kept(model: ServedModel, scene: Scene) -> int:
    """How many of a scene's frames count: those that the model looks back on, or may, if it scores by itself."""
    assert scene.observation is not None
    frames = len(scene.observation.visual[0])
    return frames if isinstance(model, ScoringModel) else min(frames, model.spec.context_window)


def _newest(frames: ObservationArrays, count: int) -> ObservationArrays:
    proprio = frames.proprio
    return ObservationArrays(frames.visual[:, -count:], None if proprio is None else proprio[:, -count:])


def _size(latents: Latents) -> int:
    tensors = (latents.visual, latents.proprio)
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors if tensor is not None)


def _to_device(frames: ObservationArrays, device: str, is_goal: bool) -> Observation:
    proprio = None if frames.proprio is None else _floats(frames.proprio, device)
    return Observation(torch.tensor(frames.visual, device=device), proprio, is_goal)


def _floats(array: NDArray[Any], device: str) -> Tensor:
    return torch.tensor(array, device=device, dtype=torch.float32)
