"""Jobs that score, and several of them in one call of the model: gathered, and split again.

Letters: S candidates of one job, B of all in a batch, H horizon, A packed action dim, T context frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.contract.validate import proprio_weight
from worldforge_jepa_server.device.clock import Clock
from worldforge_jepa_server.device.encoding import EncodedScene, SceneHandle, history_of, to_actions
from worldforge_jepa_server.device.memory import as_exhausted
from worldforge_jepa_server.device.scoring import caller_gone
from worldforge_jepa_server.models.contract import Latents, ServedModel
from worldforge_jepa_server.scheduling.engine import Job, Runner
from worldforge_jepa_server.scheduling.scheduler import Slice


class ScoreRunner(Runner, Protocol):
    """A runner of jobs that score.

    Attributes:
        spec: the published spec of its model.
        chunk: most candidates in one batch.
        batching: whether jobs share a batch.
    """

    spec: ModelSpec
    chunk: int
    batching: bool


class ScoreJob(Job[Any]):
    """Candidates to score in a scene; the runner fills in their scores.

    Args:
        runner: scores them.
        scene: has a goal.
        options: how to score.
        shape: S, H and A of the candidates.
        candidates: [S, H, A], in the units of the request; or a function that draws normalized ones, as an array or a
            tensor on the device.
        extra_info: for a model that scores by itself.

    Attributes:
        encoded: the scene; like `actions` and `history` there once the job's first slice has begun.
        actions: normalized [S, H, A], on the device.
        history: normalized [T-1, 1, A], on the device; None if T is 1.
        scores: float32 [S], on the host, and `costs`, by slice on the device.
        metadata: facts about the scores for the caller, JSON.
        lower_is_better: the direction of the scores.
        best_index: the model's own choice; None is the first of the best.
        clocks: of the batches that this job was part of.
    """

    encoded: EncodedScene
    actions: Tensor
    history: Tensor | None
    begun = False
    metadata: Mapping[str, Any]
    lower_is_better = True
    best_index: int | None = None

    def __init__(
        self,
        runner: ScoreRunner,
        scene: SceneHandle,
        options: ScoreOptions,
        shape: tuple[int, ...],
        candidates: NDArray[Any] | Callable[[], Any],
        extra_info: Mapping[str, Any] | None = None,
    ) -> None:
        samples, horizon, action_dim = shape
        batch = (horizon, action_dim, scene.frames) if runner.batching else None
        super().__init__(runner=runner, size=samples, cost_per_candidate=horizon, chunk=runner.chunk, batch=batch)
        self.scene, self.candidates, self.extra_info = scene, candidates, extra_info or {}
        self.objective = options.objective or runner.spec.objective
        self.proprio_weight = proprio_weight(options, runner.spec)
        self.actions_are_normalized = options.actions_are_normalized
        self.metadata = {
            "score_units": "latent_cost",
            "objective": self.objective.value,
            "proprio_weight": self.proprio_weight,
        }
        self.scores = np.empty(samples, np.float32)
        self.costs: list[Tensor] = []
        self.clocks: list[Clock] = []

    def begin(self, model: ServedModel) -> Exception | None:
        """Encode the scene and get the actions, with the first slice; return the error, or that of a caller gone."""
        if self.cancelled.is_set():
            return caller_gone()
        if self.begun:
            return None
        try:
            self.encoded = self.scene.encoded()
            history = history_of(model, self.encoded, self.actions_are_normalized)
            self.history = None if history is None else history.transpose(0, 1)
            if callable(self.candidates):
                self.actions = to_actions(model, self.candidates(), are_normalized=True)
            else:
                self.actions = to_actions(model, self.candidates, self.actions_are_normalized)
        except Exception as error:
            return as_exhausted(error)
        self.begun = True
        return None

    def add(self, part: Slice[Any], scores: NDArray[np.float32], costs: Tensor) -> Any:
        """Keep the scores of a slice, from the host and from the device.

        Returns:
            The job's result or its error, with the last slice; else None.
        """
        self.scores[part.start : part.stop] = scores
        self.costs.append(costs)
        return None


def cut(slices: Sequence[Slice[ScoreJob]], size: int) -> Iterator[Sequence[Slice[ScoreJob]]]:
    """Cut a batch into batches of at most `size` candidates."""
    batch: list[Slice[ScoreJob]] = []
    room = size
    for each in slices:
        start = each.start
        while start < each.stop:
            stop = min(each.stop, start + room)
            batch.append(replace(each, start=start, stop=stop))
            start, room = stop, room - (stop - start)
            if room == 0:
                yield batch
                batch, room = [], size
    if batch:
        yield batch


def gather(slices: Sequence[Slice[ScoreJob]]) -> tuple[Latents, Tensor, Tensor | None]:
    """Return the arguments of `WorldModel.unroll` for all slices at once.

    Returns:
        latents, batch 1 if all start in the same place, else B; actions [H, B, A]; history, likewise, or None.
    """
    jobs, sizes = [each.task for each in slices], [each.stop - each.start for each in slices]
    actions = torch.cat([each.task.actions[each.start : each.stop] for each in slices]).transpose(0, 1)
    first = jobs[0]
    if all(job is first or _same_start(job, first) for job in jobs):
        return first.encoded.start, actions, first.history
    starts = [job.encoded.start for job in jobs]
    visual = [start.visual.expand(size, *start.visual.shape[1:]) for start, size in zip(starts, sizes, strict=True)]
    proprio = [
        start.proprio.expand(size, *start.proprio.shape[1:])
        for start, size in zip(starts, sizes, strict=True)
        if start.proprio is not None
    ]
    history = [
        job.history.expand(-1, size, -1) for job, size in zip(jobs, sizes, strict=True) if job.history is not None
    ]
    return (
        Latents(torch.cat(visual), torch.cat(proprio) if proprio else None),
        actions,
        torch.cat(history, dim=1) if history else None,
    )


def split(latents: Latents, slices: Sequence[Slice[ScoreJob]]) -> list[Latents]:
    """Split latents [B, ...] of a batch into those [S, ...] of each slice."""
    sizes = [each.stop - each.start for each in slices]
    visual = latents.visual.split(sizes)
    proprio = [None] * len(sizes) if latents.proprio is None else latents.proprio.split(sizes)
    return [Latents(*parts) for parts in zip(visual, proprio, strict=True)]


def _same_start(one: ScoreJob, other: ScoreJob) -> bool:
    if one.encoded.start is not other.encoded.start:
        return False
    mine, theirs = one.history, other.history
    return mine is theirs or (mine is not None and theirs is not None and torch.equal(mine, theirs))
