"""A model that costs next to nothing, to measure the service alone: `python -m benchmarks.trivial` serves it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from worldforge_jepa_client.contract.spec import DYNAMIC, Limits, ModelSpec, Objective, TensorSpec
from worldforge_jepa_server.cli import main
from worldforge_jepa_server.models import registry
from worldforge_jepa_server.models.contract import Latents, Observation

SPEC = ModelSpec(
    name="trivial",
    source="benchmarks",
    visual=TensorSpec((1, DYNAMIC, 3, DYNAMIC, DYNAMIC), ("uint8", "float32"), (0, 255)),
    proprio=None,
    raw_action_dim=10,
    frameskip=1,
    context_window=1,
    objective=Objective.L2,
    proprio_weight=0,
    normalization=None,
    limits=Limits(max_samples=65536, max_horizon=64, max_context_frames=1),
    device="cpu",
    dtype="float32",
    parameter_count=0,
    checkpoint_digest="",
)


class Trivial:
    """Every frame is one token of one channel, and it is zero."""

    spec = SPEC

    def __init__(self) -> None:
        self._zero = torch.zeros(1, 1, 1, 1)

    def encode(self, observation: Observation) -> Latents:
        """Encode nothing."""
        return Latents(self._zero.expand(1, observation.visual.shape[1], 1, 1))

    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """Predict nothing."""
        predicted = Latents(self._zero.expand(actions.shape[1], 1, 1, 1))
        for _ in range(len(actions)):
            yield predicted

    def normalize_actions(self, actions: Tensor) -> Tensor:
        """Actions as they are."""
        return actions


if __name__ == "__main__":
    registry.SOURCES["trivial"] = registry.SourceKind(lambda **_: Trivial())
    sys.exit(main())
