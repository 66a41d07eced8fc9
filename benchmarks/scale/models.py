"""A model that only sleeps, as `python:benchmarks.scale.models:Sleeping`: replicas of it scale on any machine."""

from __future__ import annotations

import time
from typing import Any

import torch


class Sleeping:
    """Scores all candidates as 0, `seconds` after it is asked.

    Args:
        seconds: the time of a call.
    """

    action_dim = 10

    def __init__(self, seconds: str = "0") -> None:
        self._seconds = float(seconds)

    def score_actions(self, *, action_candidates: torch.Tensor, **_: Any) -> dict[str, Any]:
        """Sleep and score."""
        time.sleep(self._seconds)
        return {"scores": [0.0] * action_candidates.shape[1]}
