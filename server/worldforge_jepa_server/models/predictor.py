"""The predictor: a block-causal transformer over frames, conditioned on actions by AdaLN.

The conditioning is that of DiT (Peebles & Xie 2022, arXiv:2212.09748); parameter names and arithmetic are those of
the official JEPA-WM checkpoints, so that they load as they are.
Letters: B batch, T frames of the window, N tokens of a frame, A packed action dim, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.encoder import Mlp


@dataclass(frozen=True)
class PredictorConfig:
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


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def rope_tables(
    frames: int, grid: int, head_dim: int, base: float, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of time, row and column, each [T * N, head_dim]; trailing channels are not rotated.

    The sines carry the sign of the rotation: minus for the first channel of a pair. Each of the three takes the
    largest even number of channels that fits three times. The frequencies are tiled [f0, f1, .., f0, f1, ..] while
    channels are rotated in pairs (2i, 2i + 1), so this is no true rotation: that is how the published models were
    trained.
    """
    half = head_dim // 6
    frequencies = base ** -(torch.arange(half, device=device) / half)
    positions = torch.cartesian_prod(*(torch.arange(n, device=device) for n in (frames, grid, grid)))
    angles = (positions[:, :, None] * frequencies.repeat(2)).flatten(1)
    angles = F.pad(angles, (0, head_dim - angles.shape[1]))
    sign = 2.0 * (torch.arange(head_dim, device=device) % 2) - 1
    return angles.cos().to(dtype), (sign * angles.sin()).to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, heads, T * N, head_dim] rotated by the tables [T * N, head_dim]; an odd last channel stays."""
    even = x.shape[-1] // 2 * 2
    swapped = x[..., :even].reshape(*x.shape[:-1], -1, 2).flip(-1).flatten(-2)
    if even < x.shape[-1]:
        swapped = torch.cat([swapped, x[..., even:]], dim=-1)
    return torch.addcmul(x * cos, swapped, sin)


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def block_causal_mask(frames: int, tokens: int, device: torch.device) -> Tensor:
    """[T * N, T * N], true where a token may attend: to its own frame and to earlier ones."""
    frame = torch.arange(frames, device=device).repeat_interleave(tokens)
    return frame[:, None] >= frame


class PredictorAttention(nn.Module):
    """Block-causal self-attention over the tokens of all frames, with rotary time, row and column."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, last_only: bool) -> Tensor:
        """[B, T, N, W] -> [B, T or 1, N, W]; `last_only` answers for the last frame."""
        batch, frames, tokens, _ = x.shape
        heads = self.config.heads
        q, k, v = self.qkv(x).reshape(batch, frames * tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
        cos, sin = rope_tables(frames, self.config.grid, q.shape[-1], self.config.rope_base, x.device, x.dtype)
        first = (frames - 1) * tokens if last_only else 0
        q = rotate(q[:, :, first:], cos[first:], sin[first:])
        # The last frame sees everything, and so does an only frame: no mask is the faster path.
        mask = None if last_only or frames == 1 else block_causal_mask(frames, tokens, x.device)
        out = F.scaled_dot_product_attention(q, rotate(k, cos, sin), v, attn_mask=mask)
        projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, -1, tokens, x.shape[-1]))
        return projected


class AdaLNBlock(nn.Module):
    """A transformer block whose shifts, scales and gates come from the frame's action, once per frame."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.attn = PredictorAttention(config)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = Mlp(width, config.hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor, last_only: bool) -> Tensor:
        """x [B, T, N, W] and condition [B, T, W] -> [B, T or 1, N, W]; `last_only` keeps the last frame."""
        modulation = self.adaLN_modulation(condition).unsqueeze(2)
        shift, scale, gate = modulation.chunk(6, dim=-1)[:3]
        attended = self.attn(torch.addcmul(shift, self.norm1(x), 1 + scale), last_only)
        if last_only:
            x, gate, modulation = x[:, -1:], gate[:, -1:], modulation[:, -1:]
        x = torch.addcmul(x, gate, attended)
        shift, scale, gate = modulation.chunk(6, dim=-1)[3:]
        return torch.addcmul(x, gate, self.mlp(torch.addcmul(shift, self.norm2(x), 1 + scale)))


class AdaLNPredictor(nn.Module):
    """The predictor; see `PredictorConfig`."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.predictor_embed = nn.Linear(config.latent_dim, config.visual_dim)
        self.action_encoder = nn.Linear(config.action_dim, config.width)
        self.predictor_blocks = nn.ModuleList(AdaLNBlock(config) for _ in range(config.depth))
        self.predictor_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        outer = (config.width, config.latent_dim + config.proprio_embed_dim)
        self.predictor_proj = nn.Linear(*(outer if config.residual else (config.visual_dim, config.latent_dim)))

    def embed(self, latents: Latents) -> Tensor:
        """Tokens of the frames of `latents`: [B, T, N, W]."""
        visual: Tensor = self.predictor_embed(latents.visual)
        return visual if latents.proprio is None else torch.cat([visual, latents.proprio], dim=-1)

    def forward(self, tokens: Tensor, actions: Tensor, last_only: bool = False) -> Tensor:
        """The tokens of the frame after each frame of the window, normed, before the output projection.

        Args:
            tokens: from `embed`, [B, T, N, W].
            actions: normalized, [B, T, A]; entry t is taken at frame t.
            last_only: only of the frame after the last one.

        Returns:
            [B, T or 1, N, W].
        """
        condition = self.action_encoder(actions)
        for index, block in enumerate(self.predictor_blocks):
            tokens = block(tokens, condition, last_only and index == len(self.predictor_blocks) - 1)
        normed: Tensor = self.predictor_norm(tokens)
        return normed

    def project(self, tokens: Tensor, frames: Latents) -> Latents:
        """The latents of `tokens` [B, T, N, W] from `forward`; `frames` are those they come after."""
        config = self.config
        if config.residual:
            visual, proprio = self.predictor_proj(tokens).split((config.latent_dim, config.proprio_embed_dim), dim=-1)
            return Latents(frames.visual + visual, None if frames.proprio is None else frames.proprio + proprio)
        visual, proprio = tokens.split((config.visual_dim, config.proprio_embed_dim), dim=-1)
        return Latents(self.predictor_proj(visual), proprio if config.proprio_embed_dim else None)
