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
from worldforge_jepa_server.models.native.encoder import Mlp


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


Tables = tuple[Tensor, Tensor, Tensor]
"""From `rope_tables`, of some frames."""

KeysValues = tuple[Tensor, Tensor]
"""Of one block: keys and values of all frames so far, each [B, T, N, W]."""

Past = tuple[KeysValues, ...]
"""What a predictor knows of earlier frames, block by block."""


def frames_of(past: Past) -> int:
    """How many frames a past holds."""
    return past[0][0].shape[1] if past else 0


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def rope_tables(
    frames: int, grid: int, heads: int, head_dim: int, base: float, device: torch.device, dtype: torch.dtype
) -> Tables:
    """Factors of a channel, of the one after it and of the one before it, each [T, N, heads * head_dim].

    They rotate pairs of channels (2i, 2i + 1) by time, row and column. Each of the three takes the largest even number
    of channels that fits three times; trailing channels of a head stay. The frequencies are tiled
    [f0, f1, .., f0, f1, ..], so this is no true rotation: that is how the published models were trained.
    """
    half = head_dim // 6
    frequencies = base ** -(torch.arange(half, device=device) / half)
    positions = torch.cartesian_prod(*(torch.arange(n, device=device) for n in (frames, grid, grid)))
    angles = (positions[:, :, None] * frequencies.repeat(2)).flatten(1)
    angles = F.pad(angles, (0, head_dim - angles.shape[1]))
    odd = torch.arange(head_dim, device=device) % 2
    factors = (angles.cos(), -angles.sin() * (1 - odd), angles.sin() * odd)
    cos, after, before = (factor.repeat(1, heads).unflatten(0, (frames, -1)).to(dtype) for factor in factors)
    return cos, after, before


def rotate(x: Tensor, cos: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """[B, T, N, W] rotated by `rope_tables`, without taking pairs apart: neighbours are one step along the channels."""
    rotated = x * cos
    rotated[..., :-1].addcmul_(x[..., 1:], after[..., :-1])
    rotated[..., 1:].addcmul_(x[..., :-1], before[..., 1:])
    return rotated


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Block-causal attention: each frame to itself and to earlier ones.

    A call for each frame is faster than one call with a mask, which would compute what it then hides.

    Args:
        queries: of the last frames, [B, Q, N, W].
        keys: of all frames, [B, T, N, W].
        values: likewise.
        heads: W is split into as many.

    Returns:
        [B, Q, N, W].
    """
    q, k, v = (x.flatten(1, 2).unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    tokens, hidden = queries.shape[2], keys.shape[1] - queries.shape[1]
    frames = [
        F.scaled_dot_product_attention(
            q[:, :, i * tokens : (i + 1) * tokens], *(x[:, :, : (hidden + i + 1) * tokens] for x in (k, v))
        )
        for i in range(queries.shape[1])
    ]
    return torch.stack([frame.transpose(1, 2).flatten(2) for frame in frames], dim=1)


def extend(past: KeysValues | None, keys: Tensor, values: Tensor) -> KeysValues:
    """The keys and values of new frames behind those of earlier frames, which may have batch 1."""
    if past is None:
        return keys, values
    batch = len(keys)
    earlier_keys, earlier_values = (x.expand(batch, -1, -1, -1) for x in past)
    return torch.cat([earlier_keys, keys], dim=1), torch.cat([earlier_values, values], dim=1)


class PredictorAttention(nn.Module):
    """Block-causal self-attention over the tokens of all frames, with rotary time, row and column."""

    def __init__(self, config: PredictorConfig, last_only: bool) -> None:
        super().__init__()
        self.config = config
        self.last_only = last_only
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(
        self, x: Tensor, tables: Tables, past: KeysValues | None, remember: bool
    ) -> tuple[Tensor, KeysValues | None]:
        """x [B, T, N, W], the frames after `past` -> [B, T or 1, N, W], and if to `remember` the past with these."""
        width, first = self.config.width, -1 if self.last_only else 0
        queries = F.linear(x[:, first:].contiguous(), self.qkv.weight[:width], self.qkv.bias[:width])
        keys, values = F.linear(x, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=-1)
        # A copy of the values: they would hold on to the memory of the keys before rotation.
        past = extend(past, rotate(keys, *tables), values.contiguous())
        attended = attend(rotate(queries, *(table[first:] for table in tables)), *past, self.config.heads)
        return self.proj(attended), past if remember else None


class AdaLNBlock(nn.Module):
    """A transformer block whose shifts, scales and gates come from the frame's action, once per frame."""

    def __init__(self, config: PredictorConfig, last_only: bool) -> None:
        super().__init__()
        width = config.width
        self.last_only = last_only
        self.norm1 = nn.LayerNorm(width, eps=config.norm_eps)
        self.attn = PredictorAttention(config, last_only)
        self.norm2 = nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = Mlp(width, config.hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(
        self, x: Tensor, condition: Tensor, tables: Tables, past: KeysValues | None, remember: bool
    ) -> tuple[Tensor, KeysValues | None]:
        """x [1 or B, T, N, W] and condition [B, T, W] -> as `PredictorAttention`."""
        modulation = self.adaLN_modulation(condition).unsqueeze(2)
        shift, scale, gate = modulation.chunk(6, dim=-1)[:3]
        attended, past = self.attn(torch.addcmul(shift, self.norm1(x), 1 + scale), tables, past, remember)
        if self.last_only:
            x, gate, modulation = x[:, -1:], gate[:, -1:], modulation[:, -1:]
        x = torch.addcmul(x, gate, attended)
        shift, scale, gate = modulation.chunk(6, dim=-1)[3:]
        return torch.addcmul(x, gate, self.mlp(torch.addcmul(shift, self.norm2(x), 1 + scale))), past


class AdaLNPredictor(nn.Module):
    """The predictor; see `PredictorConfig`."""

    def __init__(self, config: PredictorConfig) -> None:
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
        """Tokens of the frames of `latents`: [B, T, N, W]."""
        visual: Tensor = self.predictor_embed(latents.visual)
        return visual if latents.proprio is None else torch.cat([visual, latents.proprio], dim=-1)

    def forward(self, tokens: Tensor, actions: Tensor, past: Past = (), remember: bool = True) -> tuple[Tensor, Past]:
        """The tokens of the frame after the last one, normed, before the output projection.

        Args:
            tokens: from `embed`, of the frames after `past`, [1 or B, T, N, W].
            actions: normalized, [1 or B, T, A]; entry t is taken at frame t.
            past: from an earlier call on the frames before these, whose batch may be 1. None were before: ().
            remember: whether the past will be of use.

        Returns:
            [B, 1, N, W], and the past with these frames, () if not to `remember`.
        """
        tables, condition = self._tables(tokens, frames_of(past)), self.action_encoder(actions)
        known = []
        for index, block in enumerate(self.predictor_blocks):
            tokens, seen = block(tokens, condition, tables, past[index] if past else None, remember)
            if seen is not None:
                known.append(seen)
        return self.predictor_norm(tokens), tuple(known)

    def _tables(self, tokens: Tensor, seen: int) -> Tables:
        config, end = self.config, seen + tokens.shape[1]
        sizes = (end, config.grid, config.heads, config.width // config.heads)
        cos, after, before = rope_tables(*sizes, config.rope_base, tokens.device, tokens.dtype)
        return cos[seen:], after[seen:], before[seen:]

    def project(self, tokens: Tensor, last: Latents) -> Latents:
        """The latents of `tokens` [B, 1, N, W] from `forward`; `last` is the frame they come after."""
        config = self.config
        if config.residual:
            visual, proprio = self.predictor_proj(tokens).split((config.latent_dim, config.proprio_embed_dim), dim=-1)
            return Latents(last.visual + visual, None if last.proprio is None else last.proprio + proprio)
        visual, proprio = tokens.split((config.visual_dim, config.proprio_embed_dim), dim=-1)
        return Latents(self.predictor_proj(visual), proprio if config.proprio_embed_dim else None)
