"""The predictor's training data: windows of a pool."""

import numpy as np
import torch

from examples.two_room.data import sample_trajectories
from examples.two_room.training.pools import Pool, Replay
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.tiny import CONFIG

TRAJECTORIES, LENGTH = 6, 4


def a_pool(rng: np.random.Generator) -> Pool:
    return Pool.of(Jepa(CONFIG), [sample_trajectories(rng, 3, 2, LENGTH, near_door=0.5)])


def test_a_window_is_consecutive_frames_of_one_trajectory_and_the_actions_between_them():
    rng = np.random.default_rng(0)
    pool = a_pool(rng)
    _, latents, actions = Replay(pool, horizon=2, exponent=0).sample(batch=5, rng=rng)
    assert latents.proprio is not None
    for visual, proprio, taken in zip(latents.visual, latents.proprio, actions, strict=True):
        assert any(
            torch.equal(visual, pool.visual[row, first : first + 3])
            and torch.equal(proprio, pool.proprio[row, first : first + 3])
            and torch.equal(taken, pool.actions[row, first : first + 2])
            for row in range(TRAJECTORIES)
            for first in range(LENGTH - 1)
        )


def test_every_window_is_drawn():
    rng = np.random.default_rng(0)
    drawn, *_ = Replay(a_pool(rng), horizon=2, exponent=0).sample(batch=1000, rng=rng)
    assert set(drawn) == set(range(TRAJECTORIES * (LENGTH - 1)))


def test_windows_with_larger_errors_are_drawn_more_often():
    rng = np.random.default_rng(0)
    replay = Replay(a_pool(rng), horizon=LENGTH, exponent=0.5)
    replay.update(np.arange(TRAJECTORIES), torch.tensor([1.0, 1, 1, 1, 1, 25]))
    drawn, *_ = replay.sample(batch=2000, rng=rng)
    share = np.bincount(drawn, minlength=TRAJECTORIES) / len(drawn)
    np.testing.assert_allclose(share, [0.1, 0.1, 0.1, 0.1, 0.1, 0.5], atol=0.05)
