"""DINOv3: a vision transformer with axial rotary positions (Simeoni et al. 2025, arXiv:2508.10104), patch tokens out.

Parameter names are those of the official DINOv3 checkpoints, but for the mask of the key bias: it is multiplied into
the bias when the weights are loaded.
Letters: F frames, N patches of a frame, D latent dim.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldforge_jepa_server.models.native.encoders.block import Block, Rotation


@dataclass(frozen=True)
class Dinov3Config:
    """Sizes of the encoder; the defaults are DINOv3's. D is `embed_dim`."""

    image_size: int
    patch_size: int
    embed_dim: int
    depth: int
    heads: int
    storage_tokens: int = 4
    mlp_ratio: int = 4
    norm_eps: float = 1e-5
    rope_base: float = 100.0

    @property
    def grid(self) -> int:
        """Patches along one side; N = grid * grid."""
        return self.image_size // self.patch_size

    @property
    def latent_dim(self) -> int:
        """D."""
        return self.embed_dim


class AxialRotation(nn.Module):
    """Rotary positions on rows and columns from -1 to 1; their periods are stored with the weights."""

    def __init__(self, config: Dinov3Config) -> None:
        super().__init__()
        self.config = config
        channels = config.embed_dim // config.heads
        periods = config.rope_base ** (torch.arange(channels // 4) / (channels // 4))
        self.register_buffer("periods", periods)

    periods: Tensor

    def forward(self, dtype: torch.dtype) -> Rotation:
        """Return cosines and sines; the first tokens, which are no patches, stay as they are."""
        grid = self.config.grid
        side = (torch.arange(grid, device=self.periods.device) + 0.5) / grid * 2 - 1
        places = torch.cartesian_prod(side, side)
        angles = (2 * math.pi * places.unsqueeze(-1) / self.periods).flatten(1).repeat(1, 2)
        angles = F.pad(angles, (0, 0, 1 + self.config.storage_tokens, 0))
        return angles.cos().to(dtype), angles.sin().to(dtype)


class PatchProjection(nn.Module):
    """Patches to tokens by one convolution."""

    def __init__(self, config: Dinov3Config) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.embed_dim, config.patch_size, stride=config.patch_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """[F, 3, size, size] -> [F, N, D], rows of the grid first."""
        tokens: Tensor = self.proj(pixels).flatten(2).transpose(1, 2)
        return tokens


class Dinov3(nn.Module):
    """The encoder; see `Dinov3Config`."""

    def __init__(self, config: Dinov3Config) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.storage_tokens = nn.Parameter(torch.zeros(1, config.storage_tokens, dim))
        self.patch_embed = PatchProjection(config)
        self.rope_embed = AxialRotation(config)
        self.blocks = nn.ModuleList(
            Block(dim, config.heads, config.mlp_ratio * dim, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalized pixels [F, 3, size, size] to patch tokens [F, N, D]; class and storage tokens are dropped."""
        patches = self.patch_embed(pixels)
        first = torch.cat([self.cls_token, self.storage_tokens], dim=1)
        x = torch.cat([first.expand(len(patches), -1, -1), patches], dim=1)
        rotation = self.rope_embed(x.dtype)
        for block in self.blocks:
            x = block(x, rotation)
        tokens: Tensor = self.norm(x[:, first.shape[1] :])
        return tokens
