"""Runs batches of `ScoreJob` on one model, on the device thread.

A job fails alone: its own inputs, or NaN among its own scores, are its own error, and a batch that fails as a whole is
tried again job by job.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.errors import CallCancelledError, JepaError, ResourceExhaustedError
from worldforge_jepa_server.device.batching import ScoreJob, ScoreRunner, cut, gather, split
from worldforge_jepa_server.device.clock import Clock
from worldforge_jepa_server.device.memory import device_memory, release
from worldforge_jepa_server.device.scoring import caller_gone, distance, non_finite
from worldforge_jepa_server.models.contract import ScoreQuery, ScoringModel, ServedModel, WorldModel
from worldforge_jepa_server.models.memory import is_out_of_memory
from worldforge_jepa_server.scheduling.engine import CancelToken
from worldforge_jepa_server.scheduling.scheduler import Slice

_log = logging.getLogger(__name__)
_Batch = Sequence[Slice[ScoreJob]]


def runner_for(model: ServedModel, spec: ModelSpec, chunk: int, batching: bool) -> ScoreRunner:
    """Return the runner of a model: one of latents, or of the scores that a `ScoringModel` gives."""
    return OwnScores(model, spec) if isinstance(model, ScoringModel) else LatentScores(model, spec, chunk, batching)


class LatentScores:
    """Scores candidates by the latent distance of their last prediction to the goal.

    Args:
        model: predicts.
        spec: as published.
        chunk: most candidates unrolled at a time; halved whenever memory runs out.
        batching: whether jobs share a call of the model.
    """

    def __init__(self, model: WorldModel, spec: ModelSpec, chunk: int, batching: bool = True) -> None:
        self.model, self.spec, self.chunk, self.batching = model, spec, chunk, batching

    def run(self, slices: _Batch, *, halved: bool = False) -> list[Any]:
        """Return for each slice its error, its job's result if it is the last, or None.

        Args:
            slices: a batch.
            halved: whether the chunk was halved for it already, as memory ran out.
        """
        clock = Clock(self.spec.device)
        errors = [each.task.begin(self.model) for each in slices]
        clock.lap("encode")
        for each in slices:
            each.task.clocks.append(clock)
        if any(errors):
            return self._run_rest(slices, errors)
        try:
            costs = self.measure(slices, clock)
        except Exception as error:
            if halved or isinstance(error, (CallCancelledError, ResourceExhaustedError)):
                raise
            failure = None if is_out_of_memory(error) else error
        else:
            scores, outcomes, stop = costs.numpy(force=True), [], 0  # here, and only here, a score waits for the device
            for each in slices:
                start, stop = stop, stop + each.stop - each.start
                part = scores[start:stop]
                finite = np.isfinite(part).all()
                outcomes.append(each.task.add(each, part, costs[start:stop]) if finite else _broken(each, part))
            return outcomes
        # Outside the handler, where the error no longer holds what the attempt had allocated.
        return self._run_again(slices, failure)

    def measure(self, slices: _Batch, clock: Clock | None = None) -> Tensor:
        """Unroll a batch whose jobs have begun, and measure its distances, in laps of the clock.

        The same candidates in another batch take other kernels: scores then differ in their last bits.

        Returns:
            distances [B], float32, on the device, in the order of the slices.

        Raises:
            CallCancelledError: all callers had gone after some step of the horizon.
        """
        fits = sum(each.stop - each.start for each in slices) <= self.chunk
        clock, costs = clock or Clock(self.spec.device), []
        callers = [each.task.cancelled for each in slices]
        with torch.inference_mode():
            for batch in [slices] if fits else cut(slices, self.chunk):
                first, last = batch[0].task, None
                whole = len(batch) == 1 and batch[0].stop - batch[0].start == first.size
                alone = (first.encoded.start, first.actions.transpose(0, 1), first.history)
                for step in self.model.unroll(*(alone if whole else gather(batch))):
                    if all(map(CancelToken.is_set, callers)):
                        raise caller_gone()
                    last = step
                assert last is not None
                clock.lap("unroll")
                for each, latents in zip(batch, split(last, batch) if len(batch) > 1 else [last], strict=True):
                    job = each.task
                    assert job.encoded.goal is not None
                    costs.append(distance(latents, job.encoded.goal, job.objective, job.proprio_weight))
                clock.lap("distance")
        return torch.cat(costs) if len(costs) > 1 else costs[0]

    def _run_rest(self, slices: _Batch, errors: Sequence[Exception | None]) -> list[Any]:
        """Run the slices whose jobs have begun without an error."""
        rest = [each for each, error in zip(slices, errors, strict=True) if error is None]
        outcomes = iter(self.run(rest) if rest else ())
        return [next(outcomes) if error is None else error for error in errors]

    def _run_again(self, slices: _Batch, failure: Exception | None) -> list[Any]:
        """Run a batch that failed as a whole: slice by slice, or where memory ran out (None) in smaller chunks."""
        if failure is None:
            release(self.spec.device)
            size = sum(each.stop - each.start for each in slices)
            self.chunk = max(1, min(self.chunk, size) // 2)
            _log.warning("model %s: out of memory, from now on %d candidates at a time", self.spec.name, self.chunk)
            with device_memory():
                return self.run(slices, halved=True)
        if len(slices) == 1:
            return [failure]
        _log.warning("model %s: %d requests fail together: %s", self.spec.name, len(slices), failure)
        return [outcome for each in slices for outcome in self.run([each])]


def _broken(part: Slice[ScoreJob], scores: NDArray[np.float32]) -> JepaError:
    return non_finite(scores, part.task.actions[part.start : part.stop], part.start)


class OwnScores:
    """Asks a model for its own scores of all candidates of one job at a time.

    Args:
        model: scores.
        spec: as published.
    """

    chunk = sys.maxsize
    batching = False

    def __init__(self, model: ScoringModel, spec: ModelSpec) -> None:
        self.model, self.spec = model, spec

    def run(self, slices: _Batch) -> list[Any]:
        """Return the result of a job, or its error.

        Raises:
            ResourceExhaustedError: the device is out of memory.
            InternalError: the model failed, or its answer is not one of S finite scores.
        """
        return [self._score(each) for each in slices]

    def _score(self, whole: Slice[ScoreJob]) -> Any:
        job, clock = whole.task, Clock(self.spec.device)
        if error := job.begin(self.model):
            return error
        clock.lap("encode")
        scene = job.encoded
        assert scene.goal is not None
        history = None if job.history is None else job.history.transpose(0, 1)
        options = ScoreOptions(job.objective, job.proprio_weight, job.actions_are_normalized)
        query = ScoreQuery(scene.start, scene.goal, history, job.actions.unsqueeze(0), options, job.extra_info)
        with device_memory():
            own = self.model.score(query)
        clock.lap("unroll")
        job.clocks.append(clock)
        job.metadata = {"score_units": "model_score", **own.metadata}
        job.lower_is_better, job.best_index = own.lower_is_better, own.best_index
        return job.add(whole, own.scores, torch.from_numpy(own.scores))
