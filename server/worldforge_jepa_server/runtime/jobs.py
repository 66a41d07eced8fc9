"""Jobs of the device thread other than plain scores: plan iterations, encoding, unrolling."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.types import LatentFrames, Observation, PlanCall, UnrollCall
from worldforge_jepa_client.planning import Planner
from worldforge_jepa_server.device.batching import ScoreJob
from worldforge_jepa_server.device.encoding import EncodedScene, Encoder, SceneHandle, to_actions
from worldforge_jepa_server.device.memory import device_memory
from worldforge_jepa_server.device.scoring import unroll
from worldforge_jepa_server.models.contract import Latents, WorldModel
from worldforge_jepa_server.runtime.model_table import Deployment
from worldforge_jepa_server.scheduling.engine import CancelToken
from worldforge_jepa_server.scheduling.scheduler import Slice

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class PlanStep:
    """A planner after an iteration of a plan: its mean and best candidate, float32 [H, A], and their scores.

    `mean_score` is the mean of the feasible candidates' scores; infinite where none is.
    """

    mean: NDArray[np.float32]
    best_actions: NDArray[np.float32]
    best_score: float
    mean_score: float
    spread: float


class PlanJob(ScoreJob):
    """One iteration of a plan: ask the planner, score in the scene, tell the planner. The result is a `PlanStep`."""

    def __init__(self, deployment: Deployment, scene: SceneHandle, planner: Planner, call: PlanCall) -> None:
        shape = (planner.samples, planner.horizon, planner.action_dim)
        super().__init__(deployment.runner, scene, call.options, shape, lambda: planner.ask()[0])
        self._planner, self._on_device = planner, call.on_device

    def add(self, part: Slice[Any], scores: NDArray[np.float32], costs: Tensor) -> PlanStep | Exception | None:
        """See `ScoreJob.add`."""
        super().add(part, scores, costs)
        try:
            return self._told() if part.last else None
        except Exception as error:
            return error

    def _told(self) -> PlanStep:
        """Tell the planner all scores; to a planner lower is better."""
        planner, sign = self._planner, 1 if self.lower_is_better else -1
        planner.tell(sign * (torch.cat(self.costs) if self._on_device else self.scores))
        feasible = self.scores[np.isfinite(self.scores)]
        return PlanStep(
            mean=_array(planner.mean),
            best_actions=_array(planner.best_actions),
            best_score=sign * planner.best_score,
            mean_score=float(feasible.mean() if feasible.size else self.scores[0]),
            spread=planner.spread,
        )


def encode_frames(
    model: WorldModel, encoder: Encoder, observation: Observation, dtype: str, _: CancelToken
) -> LatentFrames:
    """Encode an observation; return its latents in `dtype`."""
    with device_memory():
        return _to_host(encoder.encode(model, observation), dtype)


def predictions(
    model: WorldModel, where: EncodedScene, chosen: list[int], call: UnrollCall
) -> Generator[LatentFrames | None, None, None]:
    """Unroll the chosen candidates step by step; None stands for a step that was not asked for."""
    actions = to_actions(model, call.action_candidates[0][chosen], call.actions_are_normalized)
    for step, latents in enumerate(unroll(model, where, actions, call.actions_are_normalized), start=1):
        yield _to_host(latents, call.dtype) if not call.steps or step in call.steps else None


def next_step(steps: Generator[LatentFrames | None, None, None], last: bool, _: CancelToken) -> LatentFrames | None:
    """Compute one more step; after the last one, drop what the model keeps for more."""
    with device_memory():
        latents = next(steps)
    if last:
        steps.close()
    return latents


def frame_bytes(where: EncodedScene, dtype: str) -> int:
    """Return the size of one candidate's step; its latents are as large as those of an encoded frame."""
    tensors = [tensor[:, -1] for tensor in (where.start.visual, where.start.proprio) if tensor is not None]
    return sum(tensor.numel() for tensor in tensors) * _DTYPES[dtype].itemsize


def joined(parts: list[LatentFrames]) -> LatentFrames:
    """Return the latents of all candidates from those of chunks."""
    if len(parts) == 1:
        return parts[0]
    proprio = [part.proprio for part in parts if part.proprio is not None]
    return LatentFrames(np.concatenate([part.visual for part in parts]), np.concatenate(proprio) if proprio else None)


def _array(actions: Any) -> NDArray[np.float32]:
    """Return a copy of a planner's array as numpy's, from whichever device."""
    return np.array(actions.numpy(force=True) if hasattr(actions, "numpy") else actions, dtype=np.float32)


def _to_host(latents: Latents, dtype: str) -> LatentFrames:
    proprio = latents.proprio
    return LatentFrames(_cast(latents.visual, dtype), None if proprio is None else _cast(proprio, dtype))


def _cast(tensor: Tensor, dtype: str) -> NDArray[Any]:
    """Cast on the device and copy; numpy has no bfloat16, whose bits come as uint16."""
    array: NDArray[Any]
    if dtype == "bfloat16":
        array = tensor.to(torch.bfloat16, copy=True).view(torch.int16).numpy(force=True).view(np.uint16)
    else:
        array = tensor.to(_DTYPES[dtype], copy=True).numpy(force=True)
    return array
