"""Calls and their results: pure data on numpy arrays, the same for client and server.

Letters: S samples (candidates), H horizon, A packed action dim, T context frames, P proprio dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.spec import ModelSpec, Objective
from worldforge_jepa_client.planning import Method, PlannerOptions
from worldforge_jepa_client.planning.methods import FALLBACK


@dataclass(frozen=True)
class Observation:
    """Frames of one scene: `visual` (1, T, 3, height, width) in 0..255, `proprio` (1, T, P) raw or None."""

    visual: NDArray[Any]
    proprio: NDArray[Any] | None = None


@dataclass(frozen=True)
class Scene:
    """The part of a call that stays while candidates change; `action_history` is (1, T-1, A) or None.

    In an update of a scene, None leaves a part as it was.
    """

    observation: Observation | None = None
    goal: Observation | None = None
    action_history: NDArray[Any] | None = None

    @property
    def nbytes(self) -> int:
        """The size of its arrays."""
        frames = [each for each in (self.observation, self.goal) if each is not None]
        arrays = [array for each in frames for array in (each.visual, each.proprio)]
        return sum(array.nbytes for array in [*arrays, self.action_history] if array is not None)

    def updated(self, changes: Scene) -> Scene:
        """Return this scene with the parts that `changes` has; a new observation brings its own history, or none."""
        if changes.observation is None:
            history = self.action_history if changes.action_history is None else changes.action_history
        else:
            history = changes.action_history
        return Scene(changes.observation or self.observation, changes.goal or self.goal, history)


@dataclass(frozen=True)
class ScoreOptions:
    """The options of a score.

    Attributes:
        objective: the latent distance; None is the model's default.
        proprio_weight: the weight of the proprio features, 0 to 1e6; None is the model's default.
        actions_are_normalized: False has the server normalize candidates and history.
    """

    objective: Objective | None = None
    proprio_weight: float | None = None
    actions_are_normalized: bool = True


@dataclass(frozen=True)
class ScoreCall:
    """One request for scores of `action_candidates` (1, S, H, A).

    The scene comes whole or as the id of a context; an empty `model` is the server's default one.
    """

    scene: Scene | str
    action_candidates: NDArray[Any]
    model: str = ""
    options: ScoreOptions = ScoreOptions()
    extra_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """The server's time for a call by stage, in microseconds."""

    queue_us: int = 0
    decode_us: int = 0
    encode_us: int = 0
    unroll_us: int = 0
    distance_us: int = 0
    total_us: int = 0


@dataclass(frozen=True)
class ScoreResult:
    """Scores float32[S] in the candidates' order; `best_index` is the first of the best.

    A planner takes `costs`: `scores` are in the model's own direction, which `lower_is_better` says.
    """

    scores: NDArray[np.float32]
    best_index: int
    lower_is_better: bool
    metadata: Mapping[str, Any]
    timing: Timing

    @property
    def costs(self) -> NDArray[np.float32]:
        """float32[S], lower is better always: the scores, negated where higher ones are better."""
        return self.scores if self.lower_is_better else -self.scores


@dataclass(frozen=True)
class Context:
    """A scene that the server keeps encoded; expires at `expires_at`, in seconds since the epoch, if not used."""

    id: str
    expires_at: float


@dataclass(frozen=True)
class LatentFrames:
    """Frames in latent space: `visual` (S, T, N, D), `proprio` (S, T, N, D_proprio) or None."""

    visual: NDArray[Any]
    proprio: NDArray[Any] | None


@dataclass(frozen=True)
class UnrollCall:
    """One request for predicted latents of `action_candidates` (1, S, H, A).

    `steps` are those to return, from 1 to H, `samples` the candidates to unroll, from 0 to S - 1, each once;
    empty means all.
    """

    scene: Scene | str
    action_candidates: NDArray[Any]
    model: str = ""
    actions_are_normalized: bool = True
    steps: tuple[int, ...] = ()
    samples: tuple[int, ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True)
class PlanCall:
    """One request for a plan; `initial_mean` is float32 (H, A) or None for zeros.

    Options of the planner that are None are the model's published ones, then the method's.
    """

    scene: Scene | str
    method: Method = "cem"
    planner: PlannerOptions = field(default_factory=PlannerOptions)
    initial_mean: NDArray[Any] | None = None
    seed: int = 0
    on_device: bool = False
    model: str = ""
    options: ScoreOptions = ScoreOptions()

    def resolved(self, spec: ModelSpec) -> PlanCall:
        """Return this call with the options that `spec` publishes, or else the fallbacks, where it has none."""
        published = spec.planner.options(self.method) if spec.planner else PlannerOptions()
        return replace(self, planner=self.planner.over(published).over(FALLBACK))


@dataclass(frozen=True)
class PlanResult:
    """A planner's result; arrays are float32 (H, A), in the model's normalized actions.

    Attributes:
        actions: the plan to execute: the centre of the planner's last distribution.
        best_actions: the best candidate of all iterations.
        score: the score of `best_actions`.
        iterations: how many were done.
        complete: False where the deadline or a cancel came before the last iteration.
        timing: the last iteration's.
    """

    actions: NDArray[np.float32]
    best_actions: NDArray[np.float32]
    score: float
    iterations: int
    complete: bool
    timing: Timing


@dataclass(frozen=True)
class PlanProgress:
    """A plan after one of its iterations; every array is float32 (H, A), in the model's normalized actions.

    `mean` is the centre of the planner's distribution, `best_actions` the best candidate so far with its
    `best_score`; `mean_score` is that of this iteration's feasible candidates, `spread` the mean std.
    """

    iteration: int
    iterations: int
    mean: NDArray[np.float32]
    best_actions: NDArray[np.float32]
    best_score: float
    mean_score: float
    spread: float
    timing: Timing
