"""Jobs that score, and several of them in one call of the model: gathered, and split again.

Letters: S candidates of one job, B of all in a batch, H horizon, A packed action dim, T context frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.contract.validate import proprio_weight
from worldforge_jepa_server.device.encoding import EncodedScene, SceneHandle, to_actions
from worldforge_jepa_server.models.contract import Latents, ServedModel
from worldforge_jepa_server.scheduling.engine import Job, Runner
from worldforge_jepa_server.scheduling.scheduler import Slice


@dataclass(frozen=True)
class DeviceScores:
    """Scores of a job, or of a slice of it, and the seconds that its batch took.

    Attributes:
        scores: float32 [S], on the host.
        on_device: the same, on the device.
        metadata: facts for the caller, JSON.
        lower_is_better: the direction of the scores.
        best_index: the model's own choice; None is the first of the best.
    """

    scores: NDArray[np.float32]
    on_device: Tensor
    metadata: Mapping[str, Any]
    encode_seconds: float
    unroll_seconds: float
    distance_seconds: float = 0.0
    lower_is_better: bool = True
    best_index: int | None = None


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
    """Candidates to score in a scene.

    Args:
        runner: scores them.
        scene: has a goal.
        options: how to score.
        shape: S, H and A of the candidates.
        candidates: [S, H, A], in the units of the request; None in a subclass that gets its actions otherwise.
        extra_info: for a model that scores by itself.

    Attributes:
        encoded: the scene; like `actions` and `history` there once the job's first slice has begun.
        actions: normalized [S, H, A], on the device.
        history: normalized [T-1, 1, A], on the device; None if T is 1.
        parts: the scores of the slices so far.
    """

    encoded: EncodedScene
    actions: Tensor | None = None
    history: Tensor | None

    def __init__(
        self,
        runner: ScoreRunner,
        scene: SceneHandle,
        options: ScoreOptions,
        shape: tuple[int, ...],
        candidates: NDArray[Any] | None = None,
        extra_info: Mapping[str, Any] | None = None,
    ) -> None:
        samples, horizon, action_dim = shape
        batch = (horizon, action_dim, scene.frames) if runner.batching else None
        super().__init__(runner=runner, size=samples, cost_per_candidate=horizon, chunk=runner.chunk, batch=batch)
        self.scene, self.candidates, self.extra_info = scene, candidates, extra_info or {}
        self.objective = options.objective or runner.spec.objective
        self.proprio_weight = proprio_weight(options, runner.spec)
        self.actions_are_normalized = options.actions_are_normalized
        self.parts: list[DeviceScores] = []

    def get_actions(self, model: ServedModel) -> Tensor:
        """Return the candidates as normalized actions [S, H, A]. On the device thread, when the job begins."""
        assert self.candidates is not None
        return to_actions(model, self.candidates, self.actions_are_normalized)

    def make_result(self, scores: DeviceScores) -> Any:
        """Return the job's result. On the device thread, when all candidates are scored."""
        return scores


def cut(slices: Sequence[Slice[ScoreJob]], size: int) -> Iterator[Sequence[Slice[ScoreJob]]]:
    """Cut a batch into batches of at most `size` candidates; one that fits stays as it is."""
    if sum(each.stop - each.start for each in slices) <= size:
        yield slices
        return
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
    parts = [_actions(each) for each in slices]
    actions = (torch.cat(parts) if len(parts) > 1 else parts[0]).transpose(0, 1)
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
    if len(slices) == 1:
        return [latents]
    sizes = [each.stop - each.start for each in slices]
    visual = latents.visual.split(sizes)
    proprio = [None] * len(sizes) if latents.proprio is None else latents.proprio.split(sizes)
    return [Latents(*parts) for parts in zip(visual, proprio, strict=True)]


def joined(parts: Sequence[DeviceScores]) -> DeviceScores:
    """Return the scores of a job from those of its slices."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        parts[0],
        scores=np.concatenate([part.scores for part in parts]),
        on_device=torch.cat([part.on_device for part in parts]),
        encode_seconds=sum(part.encode_seconds for part in parts),
        unroll_seconds=sum(part.unroll_seconds for part in parts),
        distance_seconds=sum(part.distance_seconds for part in parts),
    )


def _actions(part: Slice[ScoreJob]) -> Tensor:
    actions = part.task.actions
    assert actions is not None
    return actions if part.stop - part.start == len(actions) else actions[part.start : part.stop]


def _same_start(one: ScoreJob, other: ScoreJob) -> bool:
    if one.encoded.start is not other.encoded.start:
        return False
    mine, theirs = one.history, other.history
    return mine is theirs or (mine is not None and theirs is not None and torch.equal(mine, theirs))
