"""The model contract: what the server asks of every world model.

Letters: B batch, T frames, H horizon, A packed action dim, N tokens, D latent dim, P proprio.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import ScoreOptions


class ModelLoadError(Exception):
    """A model cannot be served; the message says why, and what would help."""


@dataclass(frozen=True)
class Observation:
    """Frames of one scene, on the model's device.

    `visual` [B, T, 3, height, width], uint8 or float 0..255; `proprio` [B, T, P], raw units, or None. Few models encode
    a goal otherwise than what they act in.
    """

    visual: Tensor
    proprio: Tensor | None = None
    is_goal: bool = False


@dataclass(frozen=True)
class Latents:
    """Encoded or predicted frames: `visual` [B, T, N, D], `proprio` [B, T, N, D_proprio] or None.

    Whatever stands after B and T is the model's own affair: a distance takes all of it as features.
    """

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


@dataclass(frozen=True)
class ScoreQuery:
    """What a model that scores by itself is asked; tensors on its device, actions normalized.

    `observation` and `goal`, its last frame, are as `encode` kept them; `action_history` is [1, T-1, A] or None,
    `candidates` [1, S, H, A].
    """

    observation: Latents
    goal: Latents
    action_history: Tensor | None
    candidates: Tensor
    options: ScoreOptions
    extra_info: Mapping[str, Any]


@dataclass(frozen=True)
class ModelScores:
    """What a model's own scoring method answered, checked: scores float32[S] and which way they point."""

    scores: NDArray[np.float32]
    best_index: int
    lower_is_better: bool
    metadata: Mapping[str, Any]


class ScoringModel(ABC):
    """A model with a scoring method of its own: its latents, if it has any, are its own affair.

    A base class and no protocol, because every call asks which of the two its model is.
    """

    @property
    @abstractmethod
    def spec(self) -> ModelSpec:
        """What the model publishes about itself."""

    @abstractmethod
    def encode(self, observation: Observation) -> Latents:
        """What is kept of a scene: its frames as they are."""

    @abstractmethod
    def normalize_actions(self, actions: Tensor) -> Tensor:
        """Raw packed actions [..., A] to the units the model was trained with."""

    @abstractmethod
    def score(self, query: ScoreQuery) -> ModelScores:
        """Ask the model.

        Raises:
            InternalError: it failed, or what it answered is not what was asked.
        """


ServedModel = WorldModel | ScoringModel
