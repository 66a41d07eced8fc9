"""The model contract: the interface that every served model has.

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
    """A model cannot be served; the message has the cause and the remedy."""


@dataclass(frozen=True)
class Observation:
    """Frames of one scene, on the model's device.

    `visual` [B, T, 3, height, width], uint8 or float 0..255; `proprio` [B, T, P], raw units, or None. `is_goal` is for
    the few models that encode goals in another way.
    """

    visual: Tensor
    proprio: Tensor | None = None
    is_goal: bool = False


@dataclass(frozen=True)
class Latents:
    """Encoded or predicted frames: `visual` [B, T, N, D], `proprio` [B, T, N, D_proprio] or None.

    The axes after B and T are the model's own: a distance takes all of them as features.
    """

    visual: Tensor
    proprio: Tensor | None = None

    def last(self) -> Latents:
        """Return the last frame, T = 1."""
        return self[-1:]

    def __getitem__(self, frames: slice) -> Latents:
        """Return some of the frames."""
        return Latents(self.visual[:, frames], None if self.proprio is None else self.proprio[:, frames])


class WorldModel(Protocol):
    """A world model whose latents can be rolled forward by actions."""

    @property
    def spec(self) -> ModelSpec:
        """The published spec."""

    def encode(self, observation: Observation) -> Latents:
        """Encode every frame by itself."""

    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """Predict one frame per action, yielding each (T = 1) as soon as it is computed.

        A caller that stops iterating stops the computation. Only the last `spec.context_window` frames are kept.

        Args:
            latents: the context, T frames, batch 1 or B.
            actions: normalized, [H, B, A].
            action_history: the T-1 normalized actions between the context frames, [T-1, 1 or B, A]; entry i was
                taken at frame i. None where T is 1.
        """

    def normalize_actions(self, actions: Tensor) -> Tensor:
        """Normalize raw packed actions [..., A] to the units that `unroll` expects."""


@dataclass(frozen=True)
class ScoreQuery:
    """The inputs of a model with its own scoring method; tensors on its device, actions normalized.

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
    """The checked answer of a model's own scoring method: scores float32[S] and their direction.

    A score may be infinitely bad, inf where lower is better: never to be chosen.
    """

    scores: NDArray[np.float32]
    best_index: int
    lower_is_better: bool
    metadata: Mapping[str, Any]


class ScoringModel(ABC):
    """A model with a scoring method of its own; its latents, if any, are not used.

    A base class rather than a protocol, because every call checks `isinstance`.
    """

    @property
    @abstractmethod
    def spec(self) -> ModelSpec:
        """The published spec."""

    @abstractmethod
    def encode(self, observation: Observation) -> Latents:
        """Return the frames to keep of a scene, preprocessed."""

    @abstractmethod
    def normalize_actions(self, actions: Tensor) -> Tensor:
        """Normalize raw packed actions [..., A] to the units that the model was trained with."""

    @abstractmethod
    def score(self, query: ScoreQuery) -> ModelScores:
        """Score the candidates.

        Raises:
            InternalError: the model failed, or its answer does not fit the query.
        """


ServedModel = WorldModel | ScoringModel
