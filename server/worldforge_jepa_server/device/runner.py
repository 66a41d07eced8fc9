"""Runs batches of `ScoreJob` on one model, on the device thread.

A job fails alone: its own inputs, or NaN among its own scores, are its own error, and a batch that fails as a whole is
tried again job by job.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.errors import CallCancelledError, ResourceExhaustedError
from worldforge_jepa_server.device.batching import (
    DeviceScores,
    ScoreJob,
    ScoreRunner,
    cut,
    gather,
    joined,
    split,
)
from worldforge_jepa_server.device.clock import Clock
from worldforge_jepa_server.device.encoding import history_of
from worldforge_jepa_server.device.memory import device_memory, release
from worldforge_jepa_server.device.scoring import caller_gone, check_finite, distance
from worldforge_jepa_server.models.contract import Latents, ScoreQuery, ScoringModel, ServedModel, WorldModel
from worldforge_jepa_server.models.memory import is_out_of_memory
from worldforge_jepa_server.scheduling.scheduler import Slice

_log = logging.getLogger(__name__)
_Batch = Sequence[Slice[ScoreJob]]
_Measured = tuple[Tensor, float, float]


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

    def run(self, slices: _Batch) -> list[Any]:
        """Return for each slice its error, its job's result if it is the last, or None."""
        clock = Clock(self.spec.device)
        outcomes: list[Any] = [self._begin(each.task) for each in slices]
        encode_seconds = clock.lap()
        ready = [each for each, error in zip(slices, outcomes, strict=True) if error is None]
        ends = iter(self._score(ready, encode_seconds) if ready else ())
        return [next(ends) if error is None else error for error in outcomes]

    def measure(self, slices: _Batch) -> _Measured:
        """Unroll a batch and measure its distances; the caller has begun its jobs.

        The same candidates in another batch take other kernels: scores then differ in their last bits.

        Returns:
            distances [B], float32, on the device, in the order of the slices; seconds unrolling, and measuring.

        Raises:
            CallCancelledError: all callers had gone after some step of the horizon.
        """
        with torch.inference_mode():
            clock, unroll_seconds, distance_seconds = Clock(self.spec.device), 0.0, 0.0
            costs: list[Tensor] = []
            for batch in cut(slices, self.chunk):
                last = self._unroll(batch, slices)
                unroll_seconds += clock.lap()
                for each, latents in zip(batch, split(last, batch), strict=True):
                    job = each.task
                    assert job.encoded.goal is not None
                    costs.append(distance(latents, job.encoded.goal, job.objective, job.proprio_weight))
                distance_seconds += clock.lap()
            return torch.cat(costs) if len(costs) > 1 else costs[0], unroll_seconds, distance_seconds

    def _unroll(self, batch: _Batch, slices: _Batch) -> Latents:
        """Return the last step's latents [B, 1, N, D] of a batch cut from `slices`."""
        last: Latents | None = None
        for step in self.model.unroll(*gather(batch)):
            if all(each.task.cancelled.is_set() for each in slices):
                raise caller_gone()
            last = step
        assert last is not None
        return last

    def begin(self, job: ScoreJob) -> None:
        """Encode a job's scene and get its actions, with its first slice.

        Raises:
            CallCancelledError: the caller has gone.
        """
        if job.cancelled.is_set():
            raise caller_gone()
        if job.actions is None:
            with device_memory():
                job.encoded = job.scene.encoded()
                history = history_of(self.model, job.encoded, job.actions_are_normalized)
                job.history = None if history is None else history.transpose(0, 1)
                job.actions = job.get_actions(self.model)

    def _begin(self, job: ScoreJob) -> Exception | None:
        try:
            self.begin(job)
        except Exception as error:
            return error
        return None

    def _score(self, slices: _Batch, encode_seconds: float) -> list[Any]:
        """Score a batch; if it fails as a whole, each slice by itself."""
        try:
            costs, unrolling, measuring = self._measure_in_memory(slices)
        except (CallCancelledError, ResourceExhaustedError):
            raise
        except Exception as error:
            if len(slices) == 1:
                return [error]
            _log.warning("model %s: %d requests fail together: %s", self.spec.name, len(slices), error)
            return [end for each in slices for end in self._score([each], encode_seconds)]
        scores, ends, stop = costs.numpy(force=True), [], 0
        for each in slices:
            start, stop = stop, stop + each.stop - each.start
            metadata = {
                "score_units": "latent_cost",
                "objective": each.task.objective.value,
                "proprio_weight": each.task.proprio_weight,
            }
            part = DeviceScores(scores[start:stop], costs[start:stop], metadata, encode_seconds, unrolling, measuring)
            ends.append(_finish(each, part))
        return ends

    def _measure_in_memory(self, slices: _Batch) -> _Measured:
        """Measure; if the device's memory runs out, once more with chunks of half the size."""
        try:
            return self.measure(slices)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, where the error no longer holds what the attempt had allocated.
        release(self.spec.device)
        self.halve_chunk(sum(each.stop - each.start for each in slices))
        with device_memory():
            return self.measure(slices)

    def halve_chunk(self, candidates: int) -> None:
        """Take fewer candidates at a time from now on, as `candidates` at a time were too many."""
        self.chunk = max(1, min(self.chunk, candidates) // 2)
        _log.warning("model %s: out of memory, from now on %d candidates at a time", self.spec.name, self.chunk)


def _finish(each: Slice[ScoreJob], part: DeviceScores) -> Any:
    """Keep the scores of a slice; return its error, or the job's result if it is the last slice."""
    job = each.task
    try:
        assert job.actions is not None
        check_finite(part.scores, job.actions[each.start : each.stop], each.start)
        job.parts.append(part)
        return job.make_result(joined(job.parts)) if each.last else None
    except Exception as error:
        return error


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
        """Return the result of a job.

        Raises:
            ResourceExhaustedError: the device is out of memory.
            InternalError: the model failed, or its answer is not one of S finite scores.
        """
        return [self._score(each.task) for each in slices]

    def _score(self, job: ScoreJob) -> Any:
        clock = Clock(self.spec.device)
        with device_memory():
            scene = job.scene.encoded()
        encode_seconds = clock.lap()
        assert scene.goal is not None
        candidates = job.get_actions(self.model).unsqueeze(0)
        history = history_of(self.model, scene, job.actions_are_normalized)
        options = ScoreOptions(job.objective, job.proprio_weight, job.actions_are_normalized)
        with device_memory():
            own = self.model.score(ScoreQuery(scene.start, scene.goal, history, candidates, options, job.extra_info))
        metadata = {"score_units": "model_score", **own.metadata}
        on_device = torch.from_numpy(own.scores)
        seconds = (encode_seconds, clock.lap(), 0.0)
        return job.make_result(
            DeviceScores(own.scores, on_device, metadata, *seconds, own.lower_is_better, own.best_index)
        )
