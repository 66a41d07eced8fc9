"""Joint-embedding predictive world models: encoder, proprio encoder and predictor as one module.

Letters: B batch, T frames, H horizon, A packed action dim, P proprio, N tokens, D latent dim, Pemb proprio embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worldforge_jepa_client.contract.spec import Normalization, Objective
from worldforge_jepa_server.models.catalog import IMAGENET_MEAN, IMAGENET_STD
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.encoders.dinov2 import Dinov2, Dinov2Config
from worldforge_jepa_server.models.native.encoders.dinov3 import Dinov3, Dinov3Config
from worldforge_jepa_server.models.native.encoders.vjepa2 import VJepa2, VJepa2Config
from worldforge_jepa_server.models.native.predictors.action_tokens import ActionTokensConfig, ActionTokensPredictor
from worldforge_jepa_server.models.native.predictors.adaln import AdaLNConfig, AdaLNPredictor
from worldforge_jepa_server.models.native.predictors.causal import CausalConfig, CausalPredictor
from worldforge_jepa_server.models.native.preprocess import to_pixels
from worldforge_jepa_server.models.native.transformer import past_len

EncoderConfig = Dinov2Config | Dinov3Config | VJepa2Config
PredictorConfig = AdaLNConfig | CausalConfig | ActionTokensConfig

_MODULES: dict[type, Any] = {
    Dinov2Config: Dinov2,
    Dinov3Config: Dinov3,
    VJepa2Config: VJepa2,
    AdaLNConfig: AdaLNPredictor,
    CausalConfig: CausalPredictor,
    ActionTokensConfig: ActionTokensPredictor,
}


@dataclass(frozen=True)
class ModelConfig:
    """The architecture and its units; actions pack `frameskip` raw ones, frame-major.

    The types of `encoder` and `predictor` choose the modules.
    """

    encoder: EncoderConfig
    predictor: PredictorConfig
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


class Jepa(nn.Module):
    """Encoder, proprio encoder and predictor, differentiable; training and serving run this same code."""

    action_mean: Tensor
    action_std: Tensor
    proprio_mean: Tensor
    proprio_std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: Dinov2 | Dinov3 | VJepa2 = _MODULES[type(config.encoder)](config.encoder)
        self.predictor: AdaLNPredictor | CausalPredictor | ActionTokensPredictor
        self.predictor = _MODULES[type(config.predictor)](config.predictor)
        if config.proprio_dim and config.predictor.proprio_embed_dim:
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
            visual [B, T, N, D], proprio [B, T, N, Pemb]: one embedding copied to every token; or, where the predictor
            takes the pose itself, that: float32 [B, T, 1, P].
        """
        config = self.config
        pixels = to_pixels(frames.flatten(0, 1), config.encoder.image_size, config.pixel_mean, config.pixel_std)
        tokens = self.encoder(pixels.to(next(self.encoder.parameters()).dtype))
        visual = tokens.reshape(*frames.shape[:2], *tokens.shape[1:])
        return Latents(visual, None if proprio is None else self._encode_proprio(proprio, visual))

    def _encode_proprio(self, proprio: Tensor, visual: Tensor) -> Tensor:
        normalized = (proprio.to(torch.float32) - self.proprio_mean) / self.proprio_std
        if not self.config.predictor.proprio_embed_dim:
            return normalized.unsqueeze(2)
        embedded: Tensor = self.proprio_encoder(normalized.to(visual.dtype))
        return embedded.unsqueeze(2).expand(-1, -1, visual.shape[2], -1)

    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """Predict one frame per action; see `WorldModel.unroll` for shapes.

        The window holds embedded tokens and actions of the last frames: each frame is embedded once. While it fills,
        keys and values of earlier frames are cached; once it slides, their positions change and they are computed anew.
        Context frames before the last are computed once for all candidates, which differ from their first action on.
        """
        window, cache = self.config.context_window, ()
        tokens = self.predictor.embed(latents[-window:-1])
        taken = (actions[:0] if action_history is None else action_history).transpose(0, 1)
        taken = taken[:, taken.shape[1] - tokens.shape[1] :]
        if tokens.shape[1]:
            _, cache = self.predictor(tokens, taken)
        frame = latents.last()
        for action in actions:
            if tokens.shape[1] == window:
                tokens, taken, cache = tokens[:, 1:], taken[:, 1:], ()
            tokens, taken = _append(tokens, self.predictor.embed(frame)), _append(taken, action.unsqueeze(1))
            past, fills = past_len(cache), tokens.shape[1] < window
            predicted, cache = self.predictor(tokens[:, past:], taken[:, past:], cache, use_cache=fills)
            frame = self.predictor.project(predicted, frame, action)
            yield frame


def _append(frames: Tensor, frame: Tensor) -> Tensor:
    """[B, T + 1, ...] of [B, T, ...] and [B, 1, ...]; batch 1 is expanded."""
    batch = max(len(frames), len(frame))
    return torch.cat([x.expand(batch, *x.shape[1:]) for x in (frames, frame)], dim=1)
