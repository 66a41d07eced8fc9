"""DINO-WM's predictor (Zhou et al. 2024, arXiv:2411.04983): a block-causal ViT with actions and proprio as channels.

Parameter names and arithmetic are those of the official checkpoints, so that they load as they are.
Letters: B batch, T frames of the window, N tokens of a frame, A packed action dim, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.transformer import (
    KVCache,
    LayerKV,
    block_causal_attention,
    extend,
    past_len,
)


@dataclass(frozen=True)
class CausalConfig:
    """Sizes of the predictor; heads have `head_dim` channels whatever W is.

    Channels of a token are [visual | proprio | action], W = `visual_dim` + `proprio_embed_dim` + `action_embed_dim`.
    `max_frames` is the largest window that has learned positions.
    """

    visual_dim: int
    proprio_embed_dim: int
    action_embed_dim: int
    action_dim: int
    grid: int
    depth: int
    heads: int
    hidden: int = 2048
    head_dim: int = 64
    max_frames: int = 4
    norm_eps: float = 1e-5

    @property
    def width(self) -> int:
        """W."""
        return self.visual_dim + self.proprio_embed_dim + self.action_embed_dim


class ActionEncoder(nn.Module):
    """A linear map of packed actions; stored, as in the official checkpoints, as a convolution of kernel 1."""

    def __init__(self, action_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv1d(action_dim, embed_dim, 1)

    def forward(self, actions: Tensor) -> Tensor:
        """[B, T, A] -> [B, T, embed_dim]."""
        embedded: Tensor = self.patch_embed(actions.transpose(1, 2)).transpose(1, 2)
        return embedded


class CausalAttention(nn.Module):
    """Pre-norm block-causal self-attention over the tokens of all frames."""

    def __init__(self, config: CausalConfig, last_only: bool) -> None:
        super().__init__()
        self.last_only = last_only
        inner = config.heads * config.head_dim
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.to_qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, config.width))

    def forward(self, x: Tensor, past: LayerKV | None, use_cache: bool) -> tuple[Tensor, LayerKV | None]:
        """Attend from the frames after `past`; shapes are those of `RotaryAttention.forward`."""
        x, inner = self.norm(x), self.to_out[0].in_features
        queries = F.linear(x[:, -1:].contiguous() if self.last_only else x, self.to_qkv.weight[:inner])
        past = extend(past, *F.linear(x, self.to_qkv.weight[inner:]).chunk(2, dim=-1))
        return self.to_out(block_causal_attention(queries, *past, self.heads)), past if use_cache else None


class FeedForward(nn.Module):
    """Norm, linear, exact GELU, linear; 3 is the place of the dropout that the published models trained with."""

    def __init__(self, config: CausalConfig) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(config.width, eps=config.norm_eps),
            nn.Linear(config.width, config.hidden),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(config.hidden, config.width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] -> [..., W]."""
        out: Tensor = self.net(x)
        return out


class Transformer(nn.Module):
    """Residual blocks of attention and feed-forward, then a norm."""

    def __init__(self, config: CausalConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([CausalAttention(config, last_only=index == config.depth - 1), FeedForward(config)])
            for index in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor, cache: KVCache, use_cache: bool) -> tuple[Tensor, KVCache]:
        """x [B, T, N, W], the frames after those in `cache` -> the last one, [B, 1, N, W], and the cache with these."""
        layers = []
        for index, layer in enumerate(self.layers):
            attention, feed_forward = layer.children()
            attended, layer_kv = attention(x, cache[index] if cache else None, use_cache)
            x = (x[:, -1:] if attention.last_only else x) + attended
            x = x + feed_forward(x)
            if layer_kv is not None:
                layers.append(layer_kv)
        return self.norm(x), tuple(layers)


class CausalPredictor(nn.Module):
    """The predictor; see `CausalConfig`. Same methods as `AdaLNPredictor`."""

    def __init__(self, config: CausalConfig) -> None:
        super().__init__()
        self.config = config
        self.action_encoder = ActionEncoder(config.action_dim, config.action_embed_dim)
        self.pos_embedding = nn.Parameter(torch.zeros(1, config.max_frames * config.grid**2, config.width))
        self.transformer = Transformer(config)

    def embed(self, latents: Latents) -> Tensor:
        """Embed the frames of `latents` without their actions: [B, T, N, W - action_embed_dim]."""
        return latents.visual if latents.proprio is None else torch.cat([latents.visual, latents.proprio], dim=-1)

    def forward(
        self, tokens: Tensor, actions: Tensor, cache: KVCache = (), use_cache: bool = True
    ) -> tuple[Tensor, KVCache]:
        """Predict the tokens of the frame after the last one, normed.

        Args:
            tokens: from `embed`, of the frames after those in `cache`, [1 or B, T, N, W - action_embed_dim]; the oldest
                frame of all takes the first positions.
            actions: normalized, [1 or B, T, A]; entry t is taken at frame t.
            cache: from an earlier call on the frames before these, whose batch may be 1; () where there were none.
            use_cache: whether a later call will need the cache.

        Returns:
            [B, 1, N, W], and the cache with these frames, () without `use_cache`.
        """
        batch, (frames, count), past = max(len(tokens), len(actions)), tokens.shape[1:3], past_len(cache)
        taken = self.action_encoder(actions).unsqueeze(2).expand(batch, -1, count, -1)
        positions = self.pos_embedding[:, past * count : (past + frames) * count].unflatten(1, (frames, count))
        x = torch.cat([tokens.expand(batch, -1, -1, -1), taken], dim=-1)
        predicted: tuple[Tensor, KVCache] = self.transformer(x + positions, cache, use_cache)
        return predicted

    def project(self, tokens: Tensor, last: Latents, action: Tensor) -> Latents:
        """Map `tokens` [B, 1, N, W] from `forward` to latents; the action channels predict nothing and are dropped."""
        config = self.config
        end = config.visual_dim + config.proprio_embed_dim
        proprio = tokens[..., config.visual_dim : end] if config.proprio_embed_dim else None
        return Latents(tokens[..., : config.visual_dim], proprio)
