"""What a call says and what it answers: pure data on numpy arrays, the same for client and server.

Letters: S samples (candidates), H horizon, A packed action dim, T context frames, P proprio dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.spec import Objective


@dataclass(frozen=True)
class Observation:
    """Frames of one scene: `visual` (1, T, 3, height, width) in 0..255, `proprio` (1, T, P) raw or None."""

    visual: NDArray[Any]
    proprio: NDArray[Any] | None = None


@dataclass(frozen=True)
class ScoreOptions:
    """How to score; None means the model's default."""

    objective: Objective | None = None
    proprio_weight: float | None = None
    actions_are_normalized: bool = True


@dataclass(frozen=True)
class ScoreCall:
    """One request for scores.

    `action_history` is (1, T-1, A) or None, `action_candidates` (1, S, H, A); an empty `model` is the server's
    default one.
    """

    observation: Observation
    goal: Observation
    action_candidates: NDArray[Any]
    action_history: NDArray[Any] | None = None
    model: str = ""
    options: ScoreOptions = ScoreOptions()
    extra_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Where the server's time went, in microseconds."""

    queue_us: int = 0
    decode_us: int = 0
    encode_us: int = 0
    unroll_us: int = 0
    distance_us: int = 0
    total_us: int = 0


@dataclass(frozen=True)
class ScoreResult:
    """Costs float32[S] in the candidates' order; `best_index` is the first of the best."""

    scores: NDArray[np.float32]
    best_index: int
    lower_is_better: bool
    metadata: Mapping[str, Any]
    timing: Timing
