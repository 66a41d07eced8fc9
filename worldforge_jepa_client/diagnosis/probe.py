"""The calls that a diagnosis makes, counted and bounded: one session for scores, Encode and Unroll for latents.

One request is in flight at a time: what the server batches could change the last bits, and two runs are to be equal.
Letters: W windows, S candidates, H horizon, A packed action dim, N tokens, D latent dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import LatentFrames
from worldforge_jepa_client.diagnosis.logs.episodes import Array, Ints
from worldforge_jepa_client.diagnosis.logs.windows import AS_SENT, Hypothesis, Sent, Windows
from worldforge_jepa_client.rpc.sync.client import Client
from worldforge_jepa_client.rpc.sync.session import Session

Progress = Callable[[str, int, int], None]
"""Is told the stage, and how many windows of how many it has done."""


class OutOfBudgetError(Exception):
    """The next call would exceed the bound on calls or bytes."""


@dataclass
class Budget:
    """The calls and bytes, both ways, that a diagnosis may use, and has used."""

    most_calls: int
    most_bytes: int
    calls: int = 0
    bytes: int = 0

    def take(self, size: int) -> None:
        """Count a call of `size` bytes.

        Raises:
            OutOfBudgetError: it would be one too many.
        """
        if self.calls + 1 > self.most_calls or self.bytes + size > self.most_bytes:
            raise OutOfBudgetError
        self.calls += 1
        self.bytes += size


class Probe:
    """Asks one served model about windows.

    Args:
        client: connected to the server.
        spec: of the model.
        actions_are_normalized: as the user sends actions.
        budget: of calls and bytes.
        progress: told how far a stage is.
    """

    def __init__(
        self, client: Client, spec: ModelSpec, *, actions_are_normalized: bool, budget: Budget, progress: Progress
    ) -> None:
        self.spec, self.budget = spec, budget
        self._client, self._normalized, self._progress = client, actions_are_normalized, progress
        self._session: Session | None = None

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()

    def rank(self, stage: str, windows: Windows, others: Array, *, goals: Ints | None = None, **options: Any) -> Array:
        """Return the costs (W, S) of each window's true actions, first, and of other ones.

        Args:
            stage: for the progress.
            windows: to score.
            others: the other candidates (W, S - 1, H, A).
            goals: indices of the windows whose goals take the place of each window's own (W,).
            **options: objective and proprio weight.
        """
        costs = np.empty((len(windows), 1 + others.shape[1]))
        for index in range(len(windows)):
            sent = windows.logged(index)
            if goals is not None:
                sent = replace(sent, goal=windows.logged(int(goals[index])).goal)
            costs[index] = self.costs(sent, np.concatenate([sent.actions[None], others[index]]), **options)
            self._progress(stage, index + 1, len(windows))
        return costs

    def rank_each(self, stage: str, windows: Windows, foreign: Ints, wrong: Sequence[Hypothesis]) -> list[Array]:
        """Return the costs (W, S) of true and of foreign actions under each hypothesis, with one call a window.

        Args:
            stage: for the progress.
            windows: to score.
            foreign: indices of the windows whose actions are the others (W, S - 1).
            wrong: one hypothesis, or several that change nothing but the actions: they share their scene.

        Returns:
            Costs with rows of NaN where the episode has not the steps that the hypothesis needs.
        """
        actions = np.stack([_actions(windows, each) for each in wrong])
        costs = np.full((len(wrong), len(windows), 1 + foreign.shape[1]), np.nan)
        for index in range(len(windows)):
            scenes = {row: sent for row, each in enumerate(wrong) if (sent := windows.sent(index, each))}
            if scenes:
                rows, scene = list(scenes), next(iter(scenes.values()))
                candidates = actions[rows][:, [index, *foreign[index]]]
                scored = self.costs(scene, candidates.reshape(-1, *candidates.shape[2:]), wrong[0])
                costs[rows, index] = scored.reshape(len(rows), -1)
            self._progress(stage, index + 1, len(windows))
        return list(costs)

    def costs(self, sent: Sent, candidates: Array, wrong: Hypothesis = AS_SENT, **options: Any) -> Array:
        """Return the costs (S,) of candidates (S, H, A) in a scene."""
        self.budget.take(_size(sent.observation) + _size(sent.goal) + candidates.nbytes + 4 * len(candidates))
        if self._session is None:
            self._session = self._client.session(
                observation=sent.observation, goal=sent.goal, model=self.spec.name, timeout=self._client.timeout
            )
        else:
            self._session.observe(sent.observation)
            self._session.set_goal(sent.goal)
        scored = self._session.score(candidates[None], actions_are_normalized=self._are_normalized(wrong), **options)
        return scored.costs

    def encode(self, frames: dict[str, Array]) -> Array:
        """Return the visual latents (n, N, D) of frames {"visual" (n, 3, height, width), "proprio" (n, P)}."""
        most = max(1, self.spec.limits.max_context_frames)
        parts = []
        for first in range(0, len(frames["visual"]), most):
            part = {name: array[None, first : first + most] for name, array in frames.items()}
            self.budget.take(_size(part))
            latents = self._client.encode(observation=part, model=self.spec.name).visual
            self.budget.bytes += latents.nbytes
            parts.append(latents.reshape(-1, *latents.shape[2:]))
        latents_of_all: Array = np.concatenate(parts).astype(np.float64)
        return latents_of_all

    def unroll(self, sent: Sent, candidates: Array) -> Array:
        """Return the predicted visual latents (H, S, N, D) of candidates (S, H, A)."""
        self.budget.take(_size(sent.observation) + candidates.nbytes)
        predictions = self._client.unroll(
            observation=sent.observation,
            action_candidates=candidates[None],
            model=self.spec.name,
            actions_are_normalized=self._are_normalized(AS_SENT),
        )
        return np.stack([self._counted(latents) for _, latents in predictions]).astype(np.float64)

    def _counted(self, latents: LatentFrames) -> Array:
        self.budget.bytes += latents.visual.nbytes
        return latents.visual[:, 0]

    def _are_normalized(self, wrong: Hypothesis) -> bool:
        return self._normalized if wrong.actions_are_normalized is None else wrong.actions_are_normalized


def _actions(windows: Windows, wrong: Hypothesis) -> Array:
    """Packed actions (W, H, A); at their own time where the hypothesis needs steps that the episode has not."""
    packed = [windows.actions(index, wrong) for index in range(len(windows))]
    own = replace(wrong, action_lag=0, stride=1.0)
    return np.stack([np.asarray(windows.actions(i, own) if each is None else each) for i, each in enumerate(packed)])


def _size(arrays: dict[str, Array]) -> int:
    return sum(array.nbytes for array in arrays.values())
