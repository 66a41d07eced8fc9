"""A `Jepa` behind the server's model contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from worldforge_jepa_client.contract.spec import DYNAMIC, FLOATS, Identity, Limits, MemoryUse, ModelSpec, TensorSpec
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.devices import threads_choose, torch_threads
from worldforge_jepa_server.models.identity import identify
from worldforge_jepa_server.models.native.cores import Halves, threads_for
from worldforge_jepa_server.models.native.encoders.block import Block
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.predictors.adaln import AdaLNBlock
from worldforge_jepa_server.models.native.predictors.causal import CausalAttention, FeedForward
from worldforge_jepa_server.models.native.transformer import RotaryBlock
from worldforge_jepa_server.models.precision import FLOAT32, Execution

_BLOCKS = (Block, RotaryBlock, AdaLNBlock, CausalAttention, FeedForward)
"""The modules that are compiled."""


class NativeModel:
    """A `Jepa` in inference mode behind the `WorldModel` contract.

    Args:
        module: weights loaded; moved to `device`.
        name: what the server calls it.
        source: where the weights come from.
        digest: sha256 of the weights, hex.
        device: a torch device.
        limits: what one request may hold.
        execution: cast and compiled accordingly.
        identity: what is known of code and weights; class, digest and torch are added.
        published: further fields of the spec, e.g. `planner`.
    """

    def __init__(
        self,
        module: Jepa,
        *,
        name: str,
        source: str,
        digest: str,
        device: str,
        limits: Limits,
        execution: Execution = FLOAT32,
        identity: Identity | None = None,
        **published: Any,
    ) -> None:
        self.module = module.to(device).eval().requires_grad_(False)
        identified = identify(module, identity or Identity())
        execution.cast(module)
        execution.compile(part for part in module.modules() if isinstance(part, _BLOCKS))
        # Compiled code has its number of threads compiled in.
        self._halves = Halves(module.unroll) if threads_choose(device) and not execution.compiled else None
        spec = _spec(module, name, source, digest, device, limits)
        self._spec = replace(
            spec, dtype=execution.precision, compiled=execution.compiled, identity=identified, **published
        )

    @property
    def spec(self) -> ModelSpec:
        """See `WorldModel.spec`."""
        return self._spec

    @torch.inference_mode()
    def encode(self, observation: Observation) -> Latents:
        """See `WorldModel.encode`."""
        with torch_threads(threads_for(observation.visual.numel())) if self._halves else nullcontext():
            return self.module.encode(observation.visual, observation.proprio)

    @torch.inference_mode()
    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """See `WorldModel.unroll`."""
        dtype = latents.visual.dtype
        history = None if action_history is None else action_history.to(dtype)
        yield from (self._halves or self.module).unroll(latents, actions.to(dtype), history)

    @torch.inference_mode()
    def normalize_actions(self, actions: Tensor) -> Tensor:
        """See `WorldModel.normalize_actions`."""
        raw = actions.to(torch.float32).reshape(*actions.shape[:-1], self.spec.frameskip, -1)
        return ((raw - self.module.action_mean) / self.module.action_std).flatten(-2)


def _spec(module: Jepa, name: str, source: str, digest: str, device: str, limits: Limits) -> ModelSpec:
    config = module.config
    proprio = TensorSpec((1, DYNAMIC, config.proprio_dim), FLOATS) if config.proprio_dim else None
    return ModelSpec(
        name=name,
        source=source,
        visual=TensorSpec((1, DYNAMIC, 3, DYNAMIC, DYNAMIC), ("uint8", *FLOATS), (0.0, 255.0)),
        proprio=proprio,
        raw_action_dim=config.raw_action_dim,
        frameskip=config.frameskip,
        context_window=config.context_window,
        objective=config.objective,
        proprio_weight=config.proprio_weight,
        normalization=config.normalization,
        limits=limits,
        device=device,
        dtype="float32",
        parameter_count=sum(parameter.numel() for parameter in module.parameters()),
        checkpoint_digest=f"sha256:{digest}" if digest else "",
        memory=MemoryUse(_bytes(module), bytes_per_sample=0),  # until it is measured
        image_size=config.encoder.image_size,
    )


def _bytes(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
