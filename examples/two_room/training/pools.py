"""Cached latents of trajectories, on which the predictor alone is trained.

Letters: P trajectories of L packed actions each, B a batch of windows, H horizon, N tokens, A packed action dim.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from examples.two_room.data import Trajectories, sample_trajectories
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.tiny import CONFIG

Indices = npt.NDArray[np.intp]

_GROUPS = 50  # layouts encoded at a time


def normalize(actions: npt.NDArray[np.float32]) -> Tensor:
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

    def windows(self, rows: Indices, first: Indices, horizon: int) -> tuple[Latents, Tensor]:
        """Of trajectories [B] the `horizon` actions from [B] on: latents [B, H + 1, N, ...], actions [B, H, A]."""
        frames = torch.from_numpy(first)[:, None] + torch.arange(horizon + 1)
        row = torch.from_numpy(rows)[:, None]
        return Latents(self.visual[row, frames], self.proprio[row, frames]), self.actions[row, frames[:, :-1]]


class Replay:
    """Draws windows of `horizon` actions, those last predicted worst more often: as error ** `exponent`.

    Prioritized replay (Schaul et al. 2015, arXiv:1511.05952) without its correction for the bias: a planner seeks out
    the plans that are predicted wrong, so the worst errors matter more than the mean. 0 draws evenly.
    """

    def __init__(self, pool: Pool, horizon: int, exponent: float) -> None:
        size, length = pool.actions.shape[:2]
        self.pool, self.horizon, self.exponent = pool, horizon, exponent
        self.errors = np.ones((size, length - horizon + 1))  # far more than any error: what was never drawn comes first

    def sample(self, batch: int, rng: np.random.Generator) -> tuple[Indices, Latents, Tensor]:
        """Which windows, [B], and `Pool.windows` of them."""
        cumulative = np.cumsum(self.errors**self.exponent)
        drawn = np.searchsorted(cumulative, rng.random(batch) * cumulative[-1])
        rows, first = np.unravel_index(drawn, self.errors.shape)
        return drawn, *self.pool.windows(rows, first, self.horizon)

    def update(self, drawn: Indices, errors: Tensor) -> None:
        """Remember the prediction errors [B] of windows [B]; none is forgotten altogether."""
        self.errors.ravel()[drawn] = errors.numpy() + 1e-3


def random_trajectories(rng: np.random.Generator, count: int, length: int, near_door: float) -> Iterable[Trajectories]:
    """`count` trajectories of `length` packed actions, each in a layout of its own draw."""
    with Progress("encoding", count // _GROUPS) as bar:
        for _ in range(count // _GROUPS):
            yield sample_trajectories(rng, _GROUPS, 1, length, near_door)
            bar.show()
