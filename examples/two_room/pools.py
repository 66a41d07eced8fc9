"""Cached latents of trajectories, on which the predictor alone is trained.

Letters: P trajectories of L packed actions each, B a batch of windows, H horizon, N tokens, A packed action dim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from examples.two_room.data import Trajectories, sample_trajectories
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native import Jepa
from worldforge_jepa_server.models.tiny import CONFIG

_GROUPS = 50  # layouts encoded at a time


def normalize(actions: np.ndarray) -> Tensor:
    """Raw packed actions [..., A] in the model's units."""
    mean, std = (
        np.tile(x, CONFIG.frameskip) for x in (CONFIG.normalization.action_mean, CONFIG.normalization.action_std)
    )
    return torch.from_numpy(((actions - mean) / std).astype(np.float32))


def encode(model: Jepa, data: Trajectories) -> Latents:
    """Latents of every frame, [G * R, L + 1, N, ...]."""
    frames, proprio = torch.from_numpy(data.images()), torch.from_numpy(data.positions)
    return model.encode(frames.flatten(0, 1), proprio.flatten(0, 1))


@dataclass(frozen=True)
class Pool:
    """Latents [P, L + 1, N, ...] of trajectories, and their normalized actions [P, L, A]."""

    visual: Tensor
    proprio: Tensor
    actions: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: Jepa, parts: Iterable[Trajectories]) -> Pool:
        """Encode trajectories."""
        visual, proprio, actions = [], [], []
        for part in parts:
            latents = encode(model, part)
            assert latents.proprio is not None
            visual.append(latents.visual)
            proprio.append(latents.proprio)
            actions.append(normalize(part.actions).flatten(0, 1))
        return cls(torch.cat(visual), torch.cat(proprio), torch.cat(actions))

    def sample(self, horizon: int, batch: int, rng: np.random.Generator) -> tuple[Latents, Tensor]:
        """`batch` random windows of `horizon` actions: latents [B, H + 1, N, ...], actions [B, H, A]."""
        size, length = self.actions.shape[:2]
        rows = torch.from_numpy(rng.integers(size, size=(batch, 1)))
        first = torch.from_numpy(rng.integers(length - horizon + 1, size=(batch, 1)))
        frames = first + torch.arange(horizon + 1)
        return Latents(self.visual[rows, frames], self.proprio[rows, frames]), self.actions[rows, frames[:, :-1]]


def random_trajectories(rng: np.random.Generator, count: int, length: int, near_door: float) -> Iterable[Trajectories]:
    """`count` trajectories of `length` packed actions, each in a layout of its own draw."""
    for _ in tqdm(range(count // _GROUPS), desc="encoding", leave=False):
        yield sample_trajectories(rng, _GROUPS, 1, length, near_door)
