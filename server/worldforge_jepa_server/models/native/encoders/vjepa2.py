"""V-JEPA 2 (Assran et al. 2025, arXiv:2506.09985) as an encoder of single frames, each shown to it twice.

Parameter names are those of the official checkpoints, so that they load as they are.
Letters: F frames, N patches of a frame, D latent dim.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from worldforge_jepa_server.models.native.transformer import RotaryBlock, rotary_tables


@dataclass(frozen=True)
class VJepa2Config:
    """Sizes of the encoder; `hidden` is the width of its feed-forward layers. D is `embed_dim`."""

    image_size: int
    patch_size: int
    embed_dim: int
    depth: int
    heads: int
    hidden: int
    norm_eps: float = 1e-6
    rope_base: float = 10000.0

    @property
    def grid(self) -> int:
        """Patches along one side; N = grid * grid."""
        return self.image_size // self.patch_size

    @property
    def latent_dim(self) -> int:
        """D."""
        return self.embed_dim


class TubeletEmbed(nn.Module):
    """Patches of two equal frames to tokens; stored as a 3D convolution."""

    def __init__(self, config: VJepa2Config) -> None:
        super().__init__()
        kernel = (2, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(3, config.embed_dim, kernel, stride=kernel)

    def forward(self, pixels: Tensor) -> Tensor:
        """[F, 3, size, size] -> [F, N, D], rows of the grid first."""
        # Equal frames: the sum over time moves from the pixels to the kernel.
        kernel = self.proj.weight.sum(2)
        return F.conv2d(pixels, kernel, self.proj.bias, stride=self.proj.stride[1:]).flatten(2).transpose(1, 2)


class VJepa2(nn.Module):
    """The encoder; see `VJepa2Config`."""

    def __init__(self, config: VJepa2Config) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = TubeletEmbed(config)
        self.blocks = nn.ModuleList(
            RotaryBlock(config.embed_dim, config.heads, config.hidden, config.norm_eps) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=config.norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalized pixels [F, 3, size, size] to patch tokens [F, N, D], normalized once more without parameters."""
        config, x = self.config, self.patch_embed(pixels).unsqueeze(1)
        sizes = (1, config.grid, config.heads, config.embed_dim // config.heads)
        tables = rotary_tables(*sizes, config.rope_base, x.device, x.dtype)
        for block in self.blocks:
            x, _ = block(x, tables)
        return F.layer_norm(self.norm(x.squeeze(1)), (config.embed_dim,))
