"""Parts that encoders and predictors share: the MLP, rotary positions, block-causal attention and its KV cache.

Letters: B batch, T frames, N tokens of a frame, W width.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RotaryTables = tuple[Tensor, Tensor, Tensor]
"""From `rotary_tables`, of some frames."""

LayerKV = tuple[Tensor, Tensor]
"""Keys and values of one layer for all frames so far, each [B, T, N, W]."""

KVCache = tuple[LayerKV, ...]
"""Keys and values of every layer; () before the first frame."""


def past_len(cache: KVCache) -> int:
    """Count the frames of a cache."""
    return cache[0][0].shape[1] if cache else 0


class Mlp(nn.Module):
    """fc1, exact GELU, fc2."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> [..., dim]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def rotary_tables(
    frames: int,
    grid: int,
    heads: int,
    head_dim: int,
    base: float,
    device: torch.device,
    dtype: torch.dtype,
    time_only: int = 0,
) -> RotaryTables:
    """Factors of a channel, of the one after it and of the one before it, each [T, N, heads * head_dim].

    They rotate pairs of channels (2i, 2i + 1) by time, row and column. Each of the three takes the largest even number
    of channels that fits three times; trailing channels of a head stay. The frequencies are tiled
    [f0, f1, .., f0, f1, ..], so this is no true rotation: that is how the published models were trained.
    Each frame begins with `time_only` tokens without row and column; N = time_only + grid * grid.
    """
    half = head_dim // 6
    frequencies = base ** -(torch.arange(half, device=device) / half)
    positions = torch.cartesian_prod(*(torch.arange(n, device=device) for n in (frames, grid, grid)))
    positions = positions.unflatten(0, (frames, -1))
    # Row and column of a frame's first patch are 0, which rotates by nothing.
    positions = torch.cat([positions[:, :1].expand(-1, time_only, -1), positions], dim=1)
    angles = (positions.unsqueeze(-1) * frequencies.repeat(2)).flatten(2)
    angles = F.pad(angles, (0, head_dim - angles.shape[-1]))
    odd = torch.arange(head_dim, device=device) % 2
    factors = (angles.cos(), -angles.sin() * (1 - odd), angles.sin() * odd)
    cos, after, before = (factor.repeat(1, 1, heads).to(dtype) for factor in factors)
    return cos, after, before


def rotate(x: Tensor, cos: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """Rotate [B, T, N, W] by `rotary_tables`; pairs are not taken apart: neighbours are one step along the channels."""
    rotated = x * cos
    rotated[..., :-1].addcmul_(x[..., 1:], after[..., :-1])
    rotated[..., 1:].addcmul_(x[..., :-1], before[..., 1:])
    return rotated


def block_causal_attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Attend from each frame to itself and to earlier ones.

    A call for each frame is faster than one call with a mask, which would compute what it then hides; and no mask is
    ever materialized.

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
        ).transpose(1, 2)
        for i in range(queries.shape[1])
    ]
    attended = frames[0].unsqueeze(1) if len(frames) == 1 else torch.stack(frames, dim=1)  # which copies
    return attended.flatten(3)


def extend(past: LayerKV | None, keys: Tensor, values: Tensor) -> LayerKV:
    """Append the keys and values of new frames to those of earlier frames, which may have batch 1."""
    if past is None:
        return keys, values
    batch = len(keys)
    past_keys, past_values = (x.expand(batch, -1, -1, -1) for x in past)
    return torch.cat([past_keys, keys], dim=1), torch.cat([past_values, values], dim=1)


class RotaryAttention(nn.Module):
    """Block-causal self-attention over the tokens of all frames, with rotary time, row and column."""

    def __init__(self, width: int, heads: int, last_only: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.last_only = last_only
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Tensor, tables: RotaryTables, past: LayerKV | None = None, use_cache: bool = False
    ) -> tuple[Tensor, LayerKV | None]:
        """Attend from the frames after `past`.

        Args:
            x: [B, T, N, W].
            tables: of these frames.
            past: of the frames before these.
            use_cache: whether to return keys and values for a later call.

        Returns:
            [B, T, N, W], or the last frame alone where `last_only`; and keys and values with these frames, or None.
        """
        width, first = x.shape[-1], -1 if self.last_only else 0
        queries = F.linear(x[:, first:].contiguous(), self.qkv.weight[:width], self.qkv.bias[:width])
        keys, values = F.linear(x, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=-1)
        if use_cache and past is None:  # a view would hold on to the memory of the keys before rotation
            values = values.contiguous()
        past = extend(past, rotate(keys, *tables), values)
        attended = block_causal_attention(rotate(queries, *(table[first:] for table in tables)), *past, self.heads)
        return self.proj(attended), past if use_cache else None


class RotaryBlock(nn.Module):
    """A pre-norm transformer block with rotary block-causal attention."""

    def __init__(self, width: int, heads: int, hidden: int, norm_eps: float, last_only: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = RotaryAttention(width, heads, last_only)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, hidden)

    def forward(
        self, x: Tensor, tables: RotaryTables, past: LayerKV | None = None, use_cache: bool = False
    ) -> tuple[Tensor, LayerKV | None]:
        """See `RotaryAttention.forward`."""
        attended, past = self.attn(self.norm1(x), tables, past, use_cache)
        x = (x[:, -1:] if self.attn.last_only else x) + attended
        return x + self.mlp(self.norm2(x)), past
