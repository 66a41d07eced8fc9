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
from worldforge_jepa_server.models.predictor import block_causal_mask


@dataclass(frozen=True)
class CausalPredictorConfig:
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

    def __init__(self, config: CausalPredictorConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_dim
        self.heads = config.heads
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.to_qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, config.width))

    def forward(self, x: Tensor, last_only: bool) -> Tensor:
        """[B, T, N, W] -> [B, T or 1, N, W]; `last_only` answers for the last frame."""
        batch, frames, tokens, _ = x.shape
        qkv = self.to_qkv(self.norm(x)).reshape(batch, frames * tokens, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if last_only:
            q = q[:, :, -tokens:]
        # The last frame sees everything, and so does an only frame: no mask is the faster path.
        mask = None if last_only or frames == 1 else block_causal_mask(frames, tokens, x.device)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        projected: Tensor = self.to_out(out.transpose(1, 2).flatten(2).unflatten(1, (-1, tokens)))
        return projected


class FeedForward(nn.Module):
    """Norm, linear, exact GELU, linear; 3 is the place of the dropout that the published models trained with."""

    def __init__(self, config: CausalPredictorConfig) -> None:
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

    def __init__(self, config: CausalPredictorConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([CausalAttention(config), FeedForward(config)]) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor, last_only: bool) -> Tensor:
        """[B, T, N, W] -> [B, T or 1, N, W]; `last_only` keeps the last frame."""
        for index, layer in enumerate(self.layers):
            attention, feed_forward = layer.children()
            only = last_only and index == len(self.layers) - 1
            attended = attention(x, only)
            x = (x[:, -1:] if only else x) + attended
            x = x + feed_forward(x)
        normed: Tensor = self.norm(x)
        return normed


class CausalPredictor(nn.Module):
    """The predictor; see `CausalPredictorConfig`. Same methods as `AdaLNPredictor`."""

    def __init__(self, config: CausalPredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.action_encoder = ActionEncoder(config.action_dim, config.action_embed_dim)
        self.pos_embedding = nn.Parameter(torch.zeros(1, config.max_frames * config.grid**2, config.width))
        self.transformer = Transformer(config)

    def embed(self, latents: Latents) -> Tensor:
        """Tokens of the frames of `latents`, without their actions: [B, T, N, W - action_embed_dim]."""
        return latents.visual if latents.proprio is None else torch.cat([latents.visual, latents.proprio], dim=-1)

    def forward(self, tokens: Tensor, actions: Tensor, last_only: bool = False) -> Tensor:
        """The tokens of the frame after each frame of the window, normed.

        Args:
            tokens: from `embed`, [B, T, N, W - action_embed_dim]; the oldest frame takes the first positions.
            actions: normalized, [B, T, A]; entry t is taken at frame t.
            last_only: only of the frame after the last one.

        Returns:
            [B, T or 1, N, W].
        """
        frames, count = tokens.shape[1:3]
        taken = self.action_encoder(actions).unsqueeze(2).expand(-1, -1, count, -1)
        positions = self.pos_embedding[:, : frames * count].unflatten(1, (frames, count))
        predicted: Tensor = self.transformer(torch.cat([tokens, taken], dim=-1) + positions, last_only)
        return predicted

    def project(self, tokens: Tensor, frames: Latents) -> Latents:
        """The latents of `tokens` [B, T, N, W] from `forward`; the action channels predict nothing and are dropped."""
        config = self.config
        end = config.visual_dim + config.proprio_embed_dim
        proprio = tokens[..., config.visual_dim : end] if config.proprio_embed_dim else None
        return Latents(tokens[..., : config.visual_dim], proprio)
