"""Jobs that score candidates: those of several requests in one call of the model, those of a large one in several."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.contract.validate import check_goal_proprio
from worldforge_jepa_client.errors import CallCancelledError, ResourceExhaustedError
from worldforge_jepa_server.device.batching import Rollout
from worldforge_jepa_server.device.clock import Clock
from worldforge_jepa_server.device.memory import device_memory, release
from worldforge_jepa_server.device.scoring import Scored, check_finite, rollout, score_together
from worldforge_jepa_server.models.memory import is_out_of_memory
from worldforge_jepa_server.runtime.model_table import Deployment
from worldforge_jepa_server.runtime.scenes import OpenScene
from worldforge_jepa_server.scheduling.engine import Piece

_log = logging.getLogger(__name__)
_R = TypeVar("_R")


@dataclass(frozen=True)
class Step:
    """What scoring gave, beside its scores on the host: float32 [S]."""

    scores: NDArray[np.float32]
    scored: Scored
    encode_seconds: float

    @property
    def best_index(self) -> int:
        """The first of the best, or the model's own choice."""
        return int(self.scores.argmin()) if self.scored.best_index is None else self.scored.best_index


class Scoring(Generic[_R]):
    """A job of the engine: score candidates in a scene.

    Args:
        deployment: scores.
        scene: with a goal.
        options: how to measure.
        shape: S, H and A of the candidates.
        ask: gives them when the job begins, normalized [S, H, A] on the device.
        tell: makes the result of their scores.
    """

    def __init__(
        self,
        deployment: Deployment,
        scene: OpenScene,
        options: ScoreOptions,
        shape: tuple[int, int, int],
        ask: Callable[[], Tensor],
        tell: Callable[[Step], _R],
    ) -> None:
        self.size, self.unit, actions = shape
        self.chunk = deployment.chunk
        self.batch: Hashable = (self.unit, actions, scene.frames) if deployment.batching else None
        self._deployment, self._scene, self._options = deployment, scene, options
        self._ask, self._tell = ask, tell
        self._whole: Rollout | None = None
        self._done: list[tuple[Scored, float]] = []

    def run(self, pieces: Sequence[Piece]) -> Sequence[_R | Exception | None]:
        """See `Job.run`."""
        clock = Clock(self._deployment.spec.device)
        begun = [_caught(piece.task.job.begin, piece) for piece in pieces]
        encode_seconds = clock.lap()
        ready = [(piece, each) for piece, each in zip(pieces, begun, strict=True) if isinstance(each, Rollout)]
        abandoned = _All([piece.task.abandoned for piece, _ in ready])
        scores = iter(_score_each(self._deployment, [each for _, each in ready], abandoned))
        ends = [next(scores) if isinstance(each, Rollout) else each for each in begun]
        return [
            end if isinstance(end, Exception) else _caught(piece.task.job.end, piece, end, encode_seconds)
            for piece, end in zip(pieces, ends, strict=True)
        ]

    def begin(self, piece: Piece) -> Rollout:
        """The rollout of a piece; with the first one the scene is encoded and the candidates are asked for."""
        if piece.task.abandoned.is_set():
            raise CallCancelledError("nobody waits for the result any more")
        if self._whole is None:
            with device_memory():
                scene = self._scene.encoded()
                check_goal_proprio(scene.goal, self._options, self._deployment.spec)
                self._whole = rollout(self._deployment.world, scene, self._ask(), self._options)
        return self._whole.part(piece.start, piece.stop)

    def end(self, piece: Piece, scored: Scored, encode_seconds: float) -> _R | None:
        """Take the scores of a piece; with the last one make the result."""
        assert self._whole is not None
        check_finite(scored.scores, self._whole.part(piece.start, piece.stop).actions, piece.start)
        self._done.append((scored, encode_seconds))
        if not piece.last:
            return None
        whole = _joined([part for part, _ in self._done])
        return self._tell(Step(whole.scores.cpu().numpy(), whole, sum(seconds for _, seconds in self._done)))


def _joined(parts: Sequence[Scored]) -> Scored:
    """The scores of a request from those of its pieces."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        scores=torch.cat([part.scores for part in parts]),
        unroll_seconds=sum(part.unroll_seconds for part in parts),
        distance_seconds=sum(part.distance_seconds for part in parts),
    )


class _All:
    """Set once all of some events are."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events

    def is_set(self) -> bool:
        return all(event.is_set() for event in self._events)


def _caught(function: Callable[..., _R], *arguments: Any) -> _R | Exception:
    try:
        return function(*arguments)
    except Exception as error:
        return error


def _score_each(deployment: Deployment, rollouts: Sequence[Rollout], abandoned: _All) -> Sequence[Scored | Exception]:
    """Score together; where that fails each by itself, so that nobody fails for another's sake."""
    if not rollouts:
        return []
    try:
        return _score_in_memory(deployment, rollouts, abandoned)
    except (CallCancelledError, ResourceExhaustedError):
        raise
    except Exception as error:
        if len(rollouts) == 1:
            return [error]
        _log.warning("model %s: %d requests fail together: %s", deployment.spec.name, len(rollouts), error)
    return [end for each in rollouts for end in _score_each(deployment, [each], abandoned)]


def _score_in_memory(deployment: Deployment, rollouts: Sequence[Rollout], abandoned: _All) -> Sequence[Scored]:
    """Score together; where the device's memory does not do, once more with chunks of half the size."""
    try:
        return score_together(deployment.world, rollouts, deployment.chunk, abandoned)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler, where the error no longer holds what the attempt had allocated.
    release(deployment.spec.device)
    deployment.halve(sum(len(each.actions) for each in rollouts))
    with device_memory():
        return score_together(deployment.world, rollouts, deployment.chunk, abandoned)
