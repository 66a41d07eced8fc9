"""DINOv2: a vision transformer with learned positions (Oquab et al. 2023, arXiv:2304.07193), patch tokens out.

Parameter names are those of the official DINOv2 checkpoints, so that they load as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldforge_jepa_server.models.native.encoders.block import Block


@dataclass(frozen=True)
class Dinov2Config:
    """Sizes of the encoder; the defaults of the options below `heads` are DINOv2's.

    `position_grid` is the side of the grid the stored position embedding was trained on. `stem` lists the
    channels of 3x3 stride-2 convolutions in front of the patch embedding; `output_dim` adds a linear map of every
    token behind the last norm. D, the latent dim, is `output_dim`, else `embed_dim`.
    """

    image_size: int
    patch_size: int
    position_grid: int
    embed_dim: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    norm_eps: float = 1e-6
    position_offset: float = 0.1
    stem: tuple[int, ...] = ()
    output_dim: int | None = None

    @property
    def grid(self) -> int:
        """Patches along one side; N = grid * grid."""
        return self.image_size // self.patch_size

    @property
    def latent_dim(self) -> int:
        """D."""
        return self.output_dim or self.embed_dim


class PatchEmbed(nn.Module):
    """Patches to tokens: one convolution, behind an optional stem of 3x3 stride-2 convolutions with GELU."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        channels = (3, *config.stem)
        self.stem = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in zip(channels, config.stem, strict=False)
        )
        kernel = config.patch_size >> len(config.stem)
        self.proj = nn.Conv2d(channels[-1], config.embed_dim, kernel, stride=kernel)

    def forward(self, pixels: Tensor) -> Tensor:
        """[F, 3, size, size] -> [F, N, dim], rows of the grid first."""
        for convolution in self.stem:
            pixels = F.gelu(convolution(pixels))
        tokens: Tensor = self.proj(pixels).flatten(2).transpose(1, 2)
        return tokens


class Dinov2(nn.Module):
    """The encoder; see `Dinov2Config`."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.position_grid**2, dim))
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(
            Block(dim, config.heads, config.mlp_ratio * dim, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.head = nn.Linear(dim, config.output_dim) if config.output_dim else nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalized pixels [F, 3, size, size] to patch tokens [F, N, D]; the class token is dropped."""
        x = self.embed(pixels)
        for block in self.blocks:
            x = block(x)
        tokens: Tensor = self.head(self.norm(x[:, 1:]))
        return tokens

    def embed(self, pixels: Tensor) -> Tensor:
        """Class and patch tokens with their positions: [F, 3, size, size] -> [F, 1 + N, dim]."""
        patches = self.patch_embed(pixels)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return tokens + self.position_embedding()

    def position_embedding(self) -> Tensor:
        """The position embedding for this image size, [1, 1 + N, dim], class position first.

        Bicubic from the trained grid, with DINOv2's scale (grid + 0.1) / trained grid.
        """
        config = self.config
        if config.grid == config.position_grid:
            return self.pos_embed
        side = config.position_grid
        trained = self.pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        scale = (config.grid + config.position_offset) / side
        resized = F.interpolate(trained, scale_factor=(scale, scale), mode="bicubic", antialias=False)
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
