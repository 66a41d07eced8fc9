"""Changes of frames and raw actions that hypotheses are made of."""

from __future__ import annotations

import numpy as np

from worldforge_jepa_client.diagnosis.logs.episodes import Array


def shift_frame(frame: Array, pixels: int, axis: int) -> Array:
    """Move a frame (3, height, width) by pixels along an axis; its edge is repeated."""
    size = frame.shape[axis]
    return np.take(frame, np.clip(np.arange(size) - pixels, 0, size - 1), axis=axis)


def zoom_frame(frame: Array, share: float) -> Array:
    """Scale the central share of a frame (3, height, width) to its size; beyond 1 the edge is repeated."""
    for axis in (1, 2):
        size = frame.shape[axis]
        middle = (size - 1) / 2
        taken = np.rint(middle + (np.arange(size) - middle) * share).astype(int)
        frame = np.take(frame, np.clip(taken, 0, size - 1), axis=axis)
    return frame


def negate(raw: Array, dims: list[int]) -> Array:
    """Change the sign of some dims of raw actions (H, f, a)."""
    signs = np.ones(raw.shape[-1], raw.dtype)
    signs[dims] = -1
    return raw * signs


def repack(raw: Array) -> Array:
    """Read actions (H, f, a) that were packed dim by dim instead of step by step."""
    horizon, frameskip, dims = raw.shape
    return raw.reshape(horizon, dims, frameskip).swapaxes(1, 2)
