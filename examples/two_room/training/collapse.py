"""The check against collapse: latents must still tell positions apart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from examples.two_room.data import sample_trajectories
from examples.two_room.training import losses
from examples.two_room.training.pools import encode
from worldforge_jepa_server.models.native.jepa import Jepa


class CollapseError(Exception):
    """The latents no longer tell positions apart."""


@torch.no_grad()
def collapse_check(model: Jepa, seed: int) -> dict[str, float]:
    """Spread of the visual latents within unseen layouts; see `losses`.

    Raises:
        CollapseError: within a layout, features hardly change with the agent's position.
    """
    data = sample_trajectories(np.random.default_rng(seed), 16, 64, 1, near_door=0.0)
    features = encode(model, data).visual[:, :1].reshape(16, 64, 1, -1)
    centred = losses.centre(features)
    std = centred.square().mean(1).sqrt()
    report = {
        "mean within-layout std": float(std.mean()),
        "smallest within-layout std": float(std.min()),
        "effective rank within layouts": losses.effective_rank(centred.flatten(0, 1)),
        "effective rank over all": losses.effective_rank(centre_all(features)),
    }
    if report["mean within-layout std"] < 0.3 or report["effective rank within layouts"] < 1.5:
        raise CollapseError(f"the latents have collapsed: {report}")
    return report


def centre_all(features: Tensor) -> Tensor:
    """[G, R, 1, F] minus the mean over all, [G * R, F]."""
    flat = features.flatten(0, 2)
    return flat - flat.mean(0)
