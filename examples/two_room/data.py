"""Random trajectories in two rooms, made as they are needed.

Letters: G layouts, R trajectories in each, L packed actions of a trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from examples.two_room.env import (
    FRAMESKIP,
    MARGIN,
    MAX_STEP,
    SIZE,
    Floats,
    Images,
    free_batch,
    layouts,
    render_batch,
    roll_batch,
)

Layouts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trajectories:
    """`positions` float32 [G, R, L + 1, 2] px, raw packed `actions` float32 [G, R, L, 10], `layout` [G, 2]."""

    positions: Floats
    actions: Floats
    layout: Layouts

    def images(self) -> Images:
        """Every frame, uint8 [G, R, L + 1, 3, 64, 64]."""
        shape = self.positions.shape[:3]
        layout = np.broadcast_to(self.layout[:, None, None], (*shape, 2)).reshape(-1, 2)
        images = render_batch(self.positions.reshape(-1, 2), layout)
        return images.reshape(*shape, *images.shape[1:])


def sample_trajectories(
    rng: np.random.Generator, groups: int, per_layout: int, length: int, near_door: float
) -> Trajectories:
    """`per_layout` trajectories of `length` packed actions in each of `groups` training layouts.

    `near_door` is the share that starts near the door, where the dynamics are hardest.
    """
    choices = np.array(layouts(held_out=False))
    layout = choices[rng.integers(len(choices), size=groups)]
    each = layout.repeat(per_layout, axis=0)
    actions = sample_actions(rng, len(each), length)
    positions = roll_batch(sample_starts(rng, each, near_door), actions, each)
    shape = (groups, per_layout)
    return Trajectories(positions.reshape(*shape, length + 1, 2), actions.reshape(*shape, length, -1), layout)


def sample_actions(rng: np.random.Generator, batch: int, length: int) -> Floats:
    """Raw packed actions [batch, length, 10] in the action space: a drift that persists or not, plus a little noise.

    How far a trajectory moves and how long it keeps its direction differ between trajectories, so that they hold
    straight runs as well as what a planner proposes, a new direction with every packed action.
    """
    scale = rng.uniform(0.5, 2.5, (batch, 1, 1))
    keep = rng.choice([0.0, 0.6, 0.9], (batch, 1, 1))
    fresh = rng.standard_normal((batch, length, 2))
    drift = np.empty_like(fresh)
    drift[:, 0] = fresh[:, 0]
    for t in range(1, length):
        drift[:, t] = keep[:, 0] * drift[:, t - 1] + np.sqrt(1 - keep[:, 0] ** 2) * fresh[:, t]
    noise = rng.uniform(0, 0.5, (batch, 1, 1, 1)) * rng.standard_normal((batch, length, FRAMESKIP, 2))
    raw = (scale * drift)[:, :, None] + noise
    return raw.clip(-MAX_STEP, MAX_STEP).reshape(batch, length, 2 * FRAMESKIP).astype(np.float32)


def sample_starts(rng: np.random.Generator, layout: Layouts, near_door: float) -> Floats:
    """A free position in each `layout` [B, 2], near the door or (else) uniform: float32 [B, 2], px."""
    near = rng.random(len(layout)) < near_door
    positions: npt.NDArray[np.float32] = np.empty((len(layout), 2), np.float32)
    todo = np.ones(len(layout), bool)
    while todo.any():
        uniform = rng.uniform(MARGIN, SIZE - MARGIN, (len(layout), 2))
        at_door = layout + rng.uniform(-14, 14, (len(layout), 2))
        drawn = np.where(near[:, None], at_door, uniform).astype(np.float32)
        positions = np.where(todo[:, None], drawn, positions)
        todo &= ~free_batch(positions, layout)
    return positions
