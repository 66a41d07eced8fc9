"""The model contract: what the server asks of every world model.

Letters: B batch, T frames, H horizon, A packed action dim, N tokens, D latent dim, P proprio.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from worldforge_jepa_client.spec import ModelSpec


class ModelLoadError(Exception):
    """A model cannot be served; the message says why, and what would help."""


@dataclass(frozen=True)
class Observation:
    """Frames of one scene, on the model's device.

    `visual` [B, T, 3, height, width], uint8 or float 0..255; `proprio` [B, T, P], raw units, or None.
    """

    visual: Tensor
    proprio: Tensor | None = None


@dataclass(frozen=True)
class Latents:
    """Encoded or predicted frames: `visual` [B, T, N, D], `proprio` [B, T, N, D_proprio] or None."""

    visual: Tensor
    proprio: Tensor | None = None

    def last(self) -> Latents:
        """The last frame, T = 1."""
        return self[-1:]

    def __getitem__(self, frames: slice) -> Latents:
        """Some of the frames."""
        return Latents(self.visual[:, frames], None if self.proprio is None else self.proprio[:, frames])


class WorldModel(Protocol):
    """A world model whose latents can be rolled forward by actions."""

    @property
    def spec(self) -> ModelSpec:
        """What the model publishes about itself."""

    def encode(self, observation: Observation) -> Latents:
        """Encode every frame by itself."""

    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """Predict one frame per action, yielding each (T = 1) as soon as it is there.

        A caller that stops iterating stops the computation. Only the last `spec.context_window` frames are kept.

        Args:
            latents: the context, T frames, batch 1 or B.
            actions: normalized, [H, B, A].
            action_history: the T-1 normalized actions between the context frames, [T-1, 1 or B, A]; entry i was
                taken at frame i. None where T is 1.
        """

    def normalize_actions(self, actions: Tensor) -> Tensor:
        """Raw packed actions [..., A] to the units `unroll` expects."""
