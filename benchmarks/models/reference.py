"""The AdaLN predictor written straight from its equations: every frame of a growing rollout, nothing kept or shared.

What `worldforge_jepa_server.models.native.predictors.adaln` computes with less work must equal this.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.predictors.adaln import AdaLNBlock, AdaLNConfig, AdaLNPredictor


@torch.no_grad()
def rollout(model: Jepa, context: Latents, actions: Tensor) -> Latents:
    """The last frame predicted from one context frame and actions [H, B, A], visual [B, 1, N, D]."""
    assert context.proprio is not None
    assert isinstance(model.predictor, AdaLNPredictor)
    batch, window = actions.shape[1], model.config.context_window
    visual, proprio = (part.repeat(batch, 1, 1, 1) for part in (context.visual, context.proprio))
    for step in range(1, len(actions) + 1):
        taken = actions[:step][-window:].transpose(0, 1)
        predicted = predict(model.predictor, visual[:, -window:], proprio[:, -window:], taken)
        visual = torch.cat([visual, predicted[0][:, -1:]], dim=1)
        proprio = torch.cat([proprio, predicted[1][:, -1:]], dim=1)
    return Latents(visual[:, -1:], proprio[:, -1:])


def predict(model: AdaLNPredictor, visual: Tensor, proprio: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """The frame after each: visual [B, T, N, D], proprio [B, T, N, Pemb], actions [B, T, A]."""
    frames, tokens = visual.shape[1:3]
    x = torch.cat([model.predictor_embed(visual), proprio], dim=-1).flatten(1, 2)
    condition = F.silu(model.action_encoder(actions))
    for block in model.predictor_blocks:
        assert isinstance(block, AdaLNBlock)
        modulation = block.adaLN_modulation[1](condition).repeat_interleave(tokens, dim=1)
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        x = x + gate1 * attention(model.config, block, block.norm1(x) * (1 + scale1) + shift1, frames)
        hidden = F.gelu(block.mlp.fc1(block.norm2(x) * (1 + scale2) + shift2))
        x = x + gate2 * block.mlp.fc2(hidden)
    predicted = model.predictor_norm(x).unflatten(1, (frames, tokens))
    visual, proprio = predicted.split((model.config.visual_dim, model.config.proprio_embed_dim), dim=-1)
    return model.predictor_proj(visual), proprio


def attention(config: AdaLNConfig, block: AdaLNBlock, x: Tensor, frames: int) -> Tensor:
    """softmax(q k' / sqrt(head_dim)) v over the tokens of all frames [B, T * N, W], each frame blind to later ones."""
    q, k, v = block.attn.qkv(x).unflatten(-1, (3, config.heads, -1)).permute(2, 0, 3, 1, 4)
    frame = torch.arange(frames).repeat_interleave(config.grid**2)
    mask = frame[:, None] >= frame
    q, k = (rotate(heads, frames, config.grid, config.rope_base) for heads in (q, k))
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    projected: Tensor = block.attn.proj(attended.transpose(1, 2).flatten(2))
    return projected


def rotate(x: Tensor, frames: int, grid: int, base: float) -> Tensor:
    """x cos(angle) + (x turned by a quarter) sin(angle), a third of the channels each for time, row and column.

    The angles are tiled over a third, the quarter turns are of neighbours: (a, b) -> (-b, a).
    """
    third = x.shape[-1] // 6 * 2
    time = torch.arange(frames).repeat_interleave(grid**2)
    row = torch.arange(grid).repeat_interleave(grid).repeat(frames)
    column = torch.arange(grid).repeat(grid * frames)
    frequencies = (base ** -(torch.arange(third // 2) / (third // 2))).repeat(2)
    parts = []
    for index, position in enumerate((time, row, column)):
        angle = (position[:, None] * frequencies).to(x.dtype)
        part = x[..., index * third : (index + 1) * third]
        turned = torch.stack([-part[..., 1::2], part[..., 0::2]], dim=-1).flatten(-2)
        parts.append(part * angle.cos() + turned * angle.sin())
    return torch.cat([*parts, x[..., 3 * third :]], dim=-1)
