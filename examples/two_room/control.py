"""Receding-horizon control of the two rooms: plan with scores, execute the first steps, look again.

Knows neither server nor model: the caller passes a scoring function. Letters: S candidates, H horizon, A action dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from examples.two_room.env import FRAMESKIP, MAX_STEP, Episode, Floats, Observation, observe, roll_batch
from worldforge_jepa_client.contract.spec import Normalization
from worldforge_jepa_client.planning import CEM, Score, shift_plan

INITIAL_STD = 1.5
"""Of a plan's (dx, dy), in the model's action units."""


@dataclass(frozen=True)
class Planning:
    """CEM over one (dx, dy) for every `hold` model steps, repeated for all their raw steps.

    `schedule` lists (horizon, steps executed) of each planning, in model steps, multiples of `hold`. Horizons shrink
    towards the goal: with only the last predicted frame scored, a planner that always looks equally far ahead has no
    reason to start. Few, long moves find the way around a wall where many short ones end in front of it.
    """

    samples: int = 128
    iterations: int = 8
    elites: int = 10
    hold: int = 2
    schedule: tuple[tuple[int, int], ...] = ((8, 2), (8, 2), (6, 2), (4, 2), (2, 2), (2, 2))


@dataclass(frozen=True)
class Segment:
    """The outcome of one planning: the path float32 [steps + 1, 2] in px, and the best score after each iteration."""

    path: Floats
    best_scores: tuple[float, ...]


def pack(plans: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """One (dx, dy) per model step, [..., 2], repeated to packed actions [..., A]."""
    packed: npt.NDArray[np.float32] = np.concatenate([plans] * FRAMESKIP, axis=-1)
    return packed


def to_raw(plans: npt.NDArray[np.float32], normalization: Normalization) -> npt.NDArray[np.float32]:
    """Plans [..., 2] in the model's action units to raw actions in px."""
    raw: Floats = (plans * normalization.action_std + normalization.action_mean).astype(np.float32)
    return raw


def drive(
    episode: Episode,
    planning: Planning,
    normalization: Normalization,
    score_from: Callable[[Observation], Score],
    rng: np.random.Generator,
) -> Iterator[Segment]:
    """Plan and move, one planning of the schedule at a time; the last path ends where the episode ends.

    Args:
        episode: where to start and what to reach.
        planning: how much to look ahead.
        normalization: the model's action statistics.
        score_from: what the agent sees now to a function that scores plans [1, S, H, 2] in the model's action units.
        rng: all randomness.
    """
    position, mean, executed = episode.start, None, 0
    for horizon, steps in planning.schedule:
        moves = horizon // planning.hold
        warm_start = None if mean is None else shift_plan(mean, executed, moves)
        planner = _planner(planning, moves, warm_start, normalization, rng)
        score, best = score_from(observe(position, episode.layout)), []
        for _ in range(planning.iterations):
            planner.tell(score(planner.ask().repeat(planning.hold, axis=2)))
            best.append(planner.best_score)
        mean, executed = planner.mean, steps // planning.hold
        plan = mean.repeat(planning.hold, axis=0)[None, :steps]
        path = walk(episode, position, to_raw(plan, normalization))[0]
        position = path[-1]
        yield Segment(path, tuple(best))


def _planner(
    planning: Planning,
    moves: int,
    warm_start: npt.NDArray[np.float32] | None,
    normalization: Normalization,
    rng: np.random.Generator,
) -> CEM:
    """Return a planner of `moves` (dx, dy), bounded by the agent's step."""
    bound = MAX_STEP / to_raw(np.ones(2, np.float32), normalization)
    return CEM(
        horizon=moves,
        action_dim=2,
        rng=rng,
        samples=planning.samples,
        elites=planning.elites,
        initial_mean=warm_start,
        initial_std=INITIAL_STD,
        min_std=0.05,
        low=-bound,
        high=bound,
        prior_fraction=0.5,
        keep_best=True,
    )


def walk(episode: Episode, start: Floats, raw: npt.NDArray[np.float32]) -> Floats:
    """Return the true positions [S, H + 1, 2] of raw plans [S, H, 2] from `start`, all in px."""
    each = (len(raw), 2)
    return roll_batch(np.broadcast_to(start, each), pack(raw), np.broadcast_to(episode.layout, each))
