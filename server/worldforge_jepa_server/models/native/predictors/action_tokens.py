"""V-JEPA 2-AC's predictor (Assran et al. 2025, arXiv:2506.09985): a block-causal ViT with actions and poses as tokens.

Parameter names and arithmetic are those of the official checkpoints, so that they load as they are.
Letters: B batch, T frames of the window, N patches of a frame, A packed action dim, P pose entries, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.predictors.pose import move_pose
from worldforge_jepa_server.models.native.transformer import (
    KVCache,
    RotaryBlock,
    RotaryTables,
    past_len,
    rotary_tables,
)


@dataclass(frozen=True)
class ActionTokensConfig:
    """Sizes of the predictor; `pose_dim` is P, 0 where the model takes no proprio.

    Each frame is one token of its action, one of its pose if there is any, and N patches.
    """

    latent_dim: int
    width: int
    action_dim: int
    pose_dim: int
    grid: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    norm_eps: float = 1e-6
    rope_base: float = 10000.0

    proprio_embed_dim = 0
    """Latents hold the pose itself."""

    @property
    def time_only(self) -> int:
        """Tokens of a frame in front of its patches."""
        return 2 if self.pose_dim else 1


class ActionTokensPredictor(nn.Module):
    """The predictor; see `ActionTokensConfig`. Same methods as `AdaLNPredictor`."""

    def __init__(self, config: ActionTokensConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.predictor_embed = nn.Linear(config.latent_dim, width)
        self.action_encoder = nn.Linear(config.action_dim, width)
        if config.pose_dim:
            self.proprio_encoder = nn.Linear(config.pose_dim, width)
        self.predictor_blocks = nn.ModuleList(
            RotaryBlock(width, config.heads, config.mlp_ratio * width, config.norm_eps, index == config.depth - 1)
            for index in range(config.depth)
        )
        self.predictor_norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.predictor_proj = nn.Linear(width, config.latent_dim)

    def embed(self, latents: Latents) -> Tensor:
        """Embed the frames of `latents` without their actions: [B, T, N, W], or with poses [B, T, 1 + N, W]."""
        visual: Tensor = self.predictor_embed(latents.visual)
        if latents.proprio is None:
            return visual
        pose = self.proprio_encoder(latents.proprio.to(visual.dtype))
        return torch.cat([pose, visual], dim=2)

    def forward(
        self, tokens: Tensor, actions: Tensor, cache: KVCache = (), use_cache: bool = True
    ) -> tuple[Tensor, KVCache]:
        """Predict the tokens of the frame after the last one, normed, before the output projection.

        Args:
            tokens: from `embed`, of the frames after those in `cache`, batch 1 or B, T frames.
            actions: normalized, [1 or B, T, A]; entry t is taken at frame t.
            cache: from an earlier call on the frames before these, whose batch may be 1; () where there were none.
            use_cache: whether a later call will need the cache.

        Returns:
            [B, 1, time_only + N, W], and the cache with these frames, () without `use_cache`.
        """
        taken, batch = self.action_encoder(actions).unsqueeze(2), max(len(tokens), len(actions))
        x = torch.cat([part.expand(batch, -1, -1, -1) for part in (taken, tokens)], dim=2)
        tables, layers = self._tables(x, past_len(cache)), []
        for index, block in enumerate(self.predictor_blocks):
            x, layer = block(x, tables, cache[index] if cache else None, use_cache)
            if layer is not None:
                layers.append(layer)
        return self.predictor_norm(x), tuple(layers)

    def _tables(self, tokens: Tensor, past: int) -> RotaryTables:
        config, end = self.config, past + tokens.shape[1]
        sizes = (end, config.grid, config.heads, config.width // config.heads, config.rope_base)
        cos, after, before = rotary_tables(*sizes, tokens.device, tokens.dtype, config.time_only)
        return cos[past:], after[past:], before[past:]

    def project(self, tokens: Tensor, last: Latents, action: Tensor) -> Latents:
        """Map `tokens` from `forward` to latents; the pose is not predicted but moved.

        Args:
            tokens: [B, 1, time_only + N, W].
            last: the frame before, batch 1 or B.
            action: taken there, [B, A].
        """
        visual = self.predictor_proj(tokens[:, :, self.config.time_only :])
        visual = F.layer_norm(visual, visual.shape[-1:])
        pose = None if last.proprio is None else move_pose(last.proprio, action[:, None, None])
        return Latents(visual, pose)
