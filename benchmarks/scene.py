"""The embedded model's environment, as it is given to the clients."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from examples.two_room.env import Layout, observe

_LAYOUT = Layout(wall_x=32, door_y=32)


def two_rooms() -> dict[str, Any]:
    """Observation and goal, on both sides of the door."""
    return {"observation": _frame(12.0), "goal": _frame(52.0)}


def candidates(samples: int, horizon: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Normal noise, (1, samples, horizon, 10)."""
    return np.random.default_rng(seed).standard_normal((1, samples, horizon, 10), np.float32)


def _frame(x: float) -> dict[str, npt.NDArray[np.generic]]:
    seen = observe(np.array([x, 32.0], np.float32), _LAYOUT)
    return {"visual": seen["image"], "proprio": seen["proprio"]}
