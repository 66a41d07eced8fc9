"""The AdaLN predictor: a block-causal transformer over frames, conditioned on actions.

The conditioning is that of DiT (Peebles & Xie 2022, arXiv:2212.09748); parameter names and arithmetic are those of
the official JEPA-WM checkpoints, so that they load as they are.
Letters: B batch, T frames of the window, N tokens of a frame, A packed action dim, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.transformer import (
    KVCache,
    LayerKV,
    Mlp,
    RotaryAttention,
    RotaryTables,
    past_len,
    rotary_tables,
)


@dataclass(frozen=True)
class AdaLNConfig:
    """Sizes of the predictor.

    `residual` predicts the change of the last frame, by one linear map of all channels to visual and proprio; the
    default is the published models': the frame itself, visual through the map and proprio as the channels are.
    `proprio_embed_dim` is 0 where the model takes no proprio. W = `visual_dim` + `proprio_embed_dim`.
    """

    latent_dim: int
    visual_dim: int
    proprio_embed_dim: int
    action_dim: int
    grid: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    norm_eps: float = 1e-6
    rope_base: float = 10000.0
    residual: bool = False

    @property
    def width(self) -> int:
        """W."""
        return self.visual_dim + self.proprio_embed_dim

    @property
    def hidden(self) -> int:
        """Width of the feed-forward layers."""
        return self.mlp_ratio * self.width


class AdaLNBlock(nn.Module):
    """A transformer block whose shifts, scales and gates come from the frame's action, once per frame."""

    def __init__(self, config: AdaLNConfig, last_only: bool) -> None:
        super().__init__()
        width = config.width
        self.last_only = last_only
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.attn = RotaryAttention(width, config.heads, last_only)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = Mlp(width, config.hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(
        self, x: Tensor, condition: Tensor, tables: RotaryTables, past: LayerKV | None, use_cache: bool
    ) -> tuple[Tensor, LayerKV | None]:
        """x [1 or B, T, N, W] and condition [B, T, W] -> as `RotaryAttention`."""
        modulation = self.adaLN_modulation(condition).unsqueeze(2)
        shift, scale, gate = modulation.chunk(6, dim=-1)[:3]
        attended, past = self.attn(torch.addcmul(shift, self.norm1(x), 1 + scale), tables, past, use_cache)
        if self.last_only:
            x, gate, modulation = x[:, -1:], gate[:, -1:], modulation[:, -1:]
        x = torch.addcmul(x, gate, attended)
        shift, scale, gate = modulation.chunk(6, dim=-1)[3:]
        return torch.addcmul(x, gate, self.mlp(torch.addcmul(shift, self.norm2(x), 1 + scale))), past


class AdaLNPredictor(nn.Module):
    """The predictor; see `AdaLNConfig`."""

    def __init__(self, config: AdaLNConfig) -> None:
        super().__init__()
        self.config = config
        self.predictor_embed = nn.Linear(config.latent_dim, config.visual_dim)
        self.action_encoder = nn.Linear(config.action_dim, config.width)
        self.predictor_blocks = nn.ModuleList(
            AdaLNBlock(config, last_only=index == config.depth - 1) for index in range(config.depth)
        )
        self.predictor_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        outer = (config.width, config.latent_dim + config.proprio_embed_dim)
        self.predictor_proj = nn.Linear(*(outer if config.residual else (config.visual_dim, config.latent_dim)))

    def embed(self, latents: Latents) -> Tensor:
        """Embed the frames of `latents` as tokens: [B, T, N, W]."""
        visual: Tensor = self.predictor_embed(latents.visual)
        return visual if latents.proprio is None else torch.cat([visual, latents.proprio], dim=-1)

    def forward(
        self, tokens: Tensor, actions: Tensor, cache: KVCache = (), use_cache: bool = True
    ) -> tuple[Tensor, KVCache]:
        """Predict the tokens of the frame after the last one, normed, before the output projection.

        Args:
            tokens: from `embed`, of the frames after those in `cache`, [1 or B, T, N, W].
            actions: normalized, [1 or B, T, A]; entry t is taken at frame t.
            cache: from an earlier call on the frames before these, whose batch may be 1; () where there were none.
            use_cache: whether a later call will need the cache.

        Returns:
            [B, 1, N, W], and the cache with these frames, () without `use_cache`.
        """
        tables, condition = self._tables(tokens, past_len(cache)), self.action_encoder(actions)
        layers = []
        for index, block in enumerate(self.predictor_blocks):
            tokens, layer = block(tokens, condition, tables, cache[index] if cache else None, use_cache)
            if layer is not None:
                layers.append(layer)
        return self.predictor_norm(tokens), tuple(layers)

    def _tables(self, tokens: Tensor, past: int) -> RotaryTables:
        config, end = self.config, past + tokens.shape[1]
        sizes = (end, config.grid, config.heads, config.width // config.heads)
        cos, after, before = rotary_tables(*sizes, config.rope_base, tokens.device, tokens.dtype)
        return cos[past:], after[past:], before[past:]

    def project(self, tokens: Tensor, last: Latents, action: Tensor) -> Latents:
        """Map `tokens` [B, 1, N, W] from `forward` to latents; `last` is the frame before them, `action` unused."""
        config = self.config
        if config.residual:
            visual, proprio = self.predictor_proj(tokens).split((config.latent_dim, config.proprio_embed_dim), dim=-1)
            return Latents(last.visual + visual, None if last.proprio is None else last.proprio + proprio)
        visual, proprio = tokens.split((config.visual_dim, config.proprio_embed_dim), dim=-1)
        return Latents(self.predictor_proj(visual), proprio if config.proprio_embed_dim else None)
