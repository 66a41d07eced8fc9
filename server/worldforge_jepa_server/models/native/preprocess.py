"""Camera frames to the encoder's pixels: crop, resize and normalization."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def to_pixels(frames: Tensor, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Scale to 0..1, crop the central square, resize bilinearly, normalize the channels.

    The crop's offset is floored; the resize neither aligns corners nor antialiases.

    Args:
        frames: [F, 3, height, width], uint8 or float 0..255; both give the same bits.
        size: side of the result, px.
        mean: per channel, of pixels in 0..1.
        std: likewise.

    Returns:
        float32 [F, 3, size, size].
    """
    side = min(frames.shape[-2:])
    top, left = ((length - side) // 2 for length in frames.shape[-2:])
    pixels = frames[..., top : top + side, left : left + side].to(torch.float32) / 255
    if side != size:
        pixels = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=False)
    return (pixels - pixels.new_tensor(mean).view(3, 1, 1)) / pixels.new_tensor(std).view(3, 1, 1)
