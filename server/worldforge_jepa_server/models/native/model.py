"""Joint-embedding predictive world models on this project's own implementation of the published architecture.

Letters: B batch, T frames, H horizon, A packed action dim, P proprio, N tokens, D latent dim, Pemb proprio embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from worldforge_jepa_client.contract.spec import (
    DYNAMIC,
    FLOATS,
    Limits,
    MemoryUse,
    ModelSpec,
    Normalization,
    Objective,
    TensorSpec,
)
from worldforge_jepa_server.models.catalog import IMAGENET_MEAN, IMAGENET_STD
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.native.adaln_predictor import AdaLNBlock, AdaLNPredictor, PredictorConfig, frames_of
from worldforge_jepa_server.models.native.causal_predictor import (
    CausalAttention,
    CausalPredictor,
    CausalPredictorConfig,
    FeedForward,
)
from worldforge_jepa_server.models.native.encoder import Block, EncoderConfig, VisionTransformer
from worldforge_jepa_server.models.native.preprocess import to_pixels
from worldforge_jepa_server.models.precision import FLOAT32, Execution

_BLOCKS = (Block, AdaLNBlock, CausalAttention, FeedForward)  # what is compiled


@dataclass(frozen=True)
class ModelConfig:
    """Everything that fixes the architecture and its units; actions pack `frameskip` raw ones, frame-major.

    The type of `predictor` chooses the predictor.
    """

    encoder: EncoderConfig
    predictor: PredictorConfig | CausalPredictorConfig
    normalization: Normalization
    frameskip: int
    context_window: int = 2
    proprio_weight: float = 0.1
    objective: Objective = Objective.L2
    pixel_mean: tuple[float, ...] = IMAGENET_MEAN
    pixel_std: tuple[float, ...] = IMAGENET_STD

    @property
    def raw_action_dim(self) -> int:
        """Entries of one raw action."""
        return len(self.normalization.action_mean)

    @property
    def proprio_dim(self) -> int:
        """P, 0 where the model takes no proprio."""
        return len(self.normalization.proprio_mean)


class ProprioEncoder(nn.Module):
    """A linear map of proprio; stored, as in the official checkpoints, as a convolution of kernel 1."""

    def __init__(self, proprio_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv1d(proprio_dim, embed_dim, 1)

    def forward(self, proprio: Tensor) -> Tensor:
        """[B, T, P] -> [B, T, Pemb]."""
        embedded: Tensor = self.patch_embed(proprio.transpose(1, 2)).transpose(1, 2)
        return embedded


def _predictor(config: PredictorConfig | CausalPredictorConfig) -> AdaLNPredictor | CausalPredictor:
    return CausalPredictor(config) if isinstance(config, CausalPredictorConfig) else AdaLNPredictor(config)


class Jepa(nn.Module):
    """Encoder, proprio encoder and predictor, differentiable; training and serving run this same code."""

    action_mean: Tensor
    action_std: Tensor
    proprio_mean: Tensor
    proprio_std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = VisionTransformer(config.encoder)
        self.predictor = _predictor(config.predictor)
        if config.proprio_dim:
            self.proprio_encoder = ProprioEncoder(config.proprio_dim, config.predictor.proprio_embed_dim)
        normalization = config.normalization
        for name in ("action_mean", "action_std", "proprio_mean", "proprio_std"):
            # On the CPU also where the parameters are built on the meta device: nothing loads these later.
            statistic = torch.tensor(getattr(normalization, name), dtype=torch.float32, device="cpu")
            self.register_buffer(name, statistic, persistent=False)

    def encode(self, frames: Tensor, proprio: Tensor | None) -> Latents:
        """Encode each frame by itself.

        Args:
            frames: [B, T, 3, height, width], uint8 or float 0..255.
            proprio: raw [B, T, P], or None for the visual latents alone.

        Returns:
            visual [B, T, N, D], proprio [B, T, N, Pemb]: one embedding copied to every token.
        """
        config = self.config
        pixels = to_pixels(frames.flatten(0, 1), config.encoder.image_size, config.pixel_mean, config.pixel_std)
        tokens = self.encoder(pixels.to(self.encoder.cls_token.dtype))
        visual = tokens.reshape(*frames.shape[:2], *tokens.shape[1:])
        return Latents(visual, None if proprio is None else self._encode_proprio(proprio, visual))

    def _encode_proprio(self, proprio: Tensor, visual: Tensor) -> Tensor:
        normalized = (proprio.to(torch.float32) - self.proprio_mean) / self.proprio_std
        embedded: Tensor = self.proprio_encoder(normalized.to(visual.dtype))
        return embedded.unsqueeze(2).expand(-1, -1, visual.shape[2], -1)

    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """Predict one frame per action; see `WorldModel.unroll` for shapes.

        The window holds embedded tokens and actions of the last frames: each frame is embedded once. While it fills,
        earlier frames stay as they are seen; once it slides, their positions change and they are seen anew. Context
        frames before the last are seen once for all candidates, who begin to differ with their first action.
        """
        window, past = self.config.context_window, ()
        tokens = self.predictor.embed(latents[-window:-1])
        taken = (actions[:0] if action_history is None else action_history).transpose(0, 1)
        taken = taken[:, taken.shape[1] - tokens.shape[1] :]
        if tokens.shape[1]:
            _, past = self.predictor(tokens, taken)
        frame = latents.last()
        for action in actions:
            if tokens.shape[1] == window:
                tokens, taken, past = tokens[:, 1:], taken[:, 1:], ()
            tokens, taken = _append(tokens, self.predictor.embed(frame)), _append(taken, action.unsqueeze(1))
            seen, fills = frames_of(past), tokens.shape[1] < window
            predicted, past = self.predictor(tokens[:, seen:], taken[:, seen:], past, remember=fills)
            frame = self.predictor.project(predicted, frame)
            yield frame


def _append(frames: Tensor, frame: Tensor) -> Tensor:
    """[B, T + 1, ...] of [B, T, ...] and [B, 1, ...]; one that has batch 1 is that of all."""
    batch = max(len(frames), len(frame))
    return torch.cat([x.expand(batch, *x.shape[1:]) for x in (frames, frame)], dim=1)


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
        **published: Any,
    ) -> None:
        self.module = module.to(device).eval().requires_grad_(False)
        execution.cast(module)
        execution.compile(part for part in module.modules() if isinstance(part, _BLOCKS))
        spec = _spec(module, name, source, digest, device, limits)
        self._spec = replace(spec, dtype=execution.precision, compiled=execution.compiled, **published)

    @property
    def spec(self) -> ModelSpec:
        """See `WorldModel.spec`."""
        return self._spec

    @torch.inference_mode()
    def encode(self, observation: Observation) -> Latents:
        """See `WorldModel.encode`."""
        return self.module.encode(observation.visual, observation.proprio)

    @torch.inference_mode()
    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """See `WorldModel.unroll`."""
        dtype = latents.visual.dtype
        history = None if action_history is None else action_history.to(dtype)
        yield from self.module.unroll(latents, actions.to(dtype), history)

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
