"""A model that raises now and then, as `python:benchmarks.soak.models:Moody`."""

from __future__ import annotations

from itertools import count
from typing import Any

import torch

_EVERY = 5


class Moody:
    """Scores by the first action; each fifth call raises."""

    action_dim = 2

    def __init__(self) -> None:
        self._calls = count(1)

    def score_actions(self, *, action_candidates: torch.Tensor, **_: Any) -> dict[str, Any]:
        """Score.

        Raises:
            RuntimeError: in each fifth call.
        """
        if next(self._calls) % _EVERY == 0:
            raise RuntimeError("moody")
        return {"scores": action_candidates[0, :, -1, 0].tolist()}
