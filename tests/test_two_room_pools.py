"""What the predictor is trained on: windows of a pool."""

import numpy as np
import torch

from examples.two_room.data import sample_trajectories
from examples.two_room.pools import Pool
from worldforge_jepa_server.models.native import Jepa
from worldforge_jepa_server.models.tiny import CONFIG

LENGTH = 4


def test_a_window_is_consecutive_frames_of_one_trajectory_and_the_actions_between_them():
    rng = np.random.default_rng(0)
    pool = Pool.of(Jepa(CONFIG), [sample_trajectories(rng, 3, 2, LENGTH, near_door=0.5)])
    latents, actions = pool.sample(horizon=2, batch=5, rng=rng)
    for visual, proprio, taken in zip(latents.visual, latents.proprio, actions, strict=True):
        assert any(
            torch.equal(visual, pool.visual[row, first : first + 3])
            and torch.equal(proprio, pool.proprio[row, first : first + 3])
            and torch.equal(taken, pool.actions[row, first : first + 2])
            for row in range(6)
            for first in range(LENGTH - 1)
        )
