"""A scene of the embedded model's environment, and candidates for it, as keywords of `score`."""

from __future__ import annotations

from typing import Any

import numpy as np

from examples.two_room.env import Layout, observe

LAYOUT = Layout(wall_x=32, door_y=32)
ACTION_DIM = 10
RAW = {"actions_are_normalized": False}
LONG = {"samples": 4000, "horizon": 32}  # of candidates whose scoring takes tens of seconds
LONG_LOG = "4000 candidates"


def scene(start: tuple[float, float] = (12.0, 32.0), goal: tuple[float, float] = (24.0, 32.0)) -> dict[str, Any]:
    """Observation and goal: the agent in the left room."""
    return {"observation": _frame(start), "goal": _frame(goal)}


def candidates(samples: int = 4, horizon: int = 2, seed: int = 0) -> np.ndarray:
    """Random raw candidates (1, samples, horizon, 10), in px."""
    return np.random.default_rng(seed).normal(0, 1.5, (1, samples, horizon, ACTION_DIM)).astype(np.float32)


def raw_candidates(samples: int = 4, horizon: int = 2, seed: int = 0) -> dict[str, Any]:
    """The same, said to be raw."""
    return {"action_candidates": candidates(samples, horizon, seed), **RAW}


def _frame(position: tuple[float, float]) -> dict[str, Any]:
    observation = observe(np.array(position, np.float32), LAYOUT)
    return {"visual": observation["image"], "proprio": observation["proprio"]}
