"""Jobs of the device thread other than plain scores: plan iterations, encoding, unrolling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.types import LatentFrames, Observation, PlanCall, UnrollCall
from worldforge_jepa_client.errors import OutOfRangeError
from worldforge_jepa_client.planning import Planner
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.device.batching import DeviceScores, ScoreJob
from worldforge_jepa_server.device.encoding import Encoder, SceneHandle, to_actions
from worldforge_jepa_server.device.memory import device_memory
from worldforge_jepa_server.device.scoring import unroll
from worldforge_jepa_server.models.contract import Latents, ServedModel, WorldModel
from worldforge_jepa_server.runtime.model_table import Deployment

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_NEVER = Event()


@dataclass(frozen=True)
class PlanStep:
    """One iteration of a plan: its scores, and the planner's mean and best candidate, float32 [H, A]."""

    scores: DeviceScores
    mean: NDArray[np.float32]
    best_actions: NDArray[np.float32]
    best_score: float
    spread: float


class PlanJob(ScoreJob):
    """One iteration of a plan: ask the planner, score in the scene, tell the planner. The result is a `PlanStep`."""

    def __init__(self, deployment: Deployment, scene: SceneHandle, planner: Planner, call: PlanCall) -> None:
        shape = (planner.samples, planner.horizon, planner.action_dim)
        super().__init__(deployment.runner, scene, call.options, shape)
        self._planner, self._on_device = planner, call.on_device

    def get_actions(self, model: ServedModel) -> Tensor:
        """See `ScoreJob.get_actions`."""
        candidates: Any = self._planner.ask()[0]
        return candidates if self._on_device else to_actions(model, candidates, True)

    def make_result(self, scores: DeviceScores) -> PlanStep:
        """See `ScoreJob.make_result`; to a planner lower is better."""
        planner, sign = self._planner, 1 if scores.lower_is_better else -1
        planner.tell(sign * (scores.on_device if self._on_device else scores.scores))
        mean, best = _array(planner.mean), _array(planner.best_actions)
        return PlanStep(scores, mean, best, sign * planner.best_score, planner.spread)


def encode_frames(model: WorldModel, encoder: Encoder, observation: Observation, dtype: str, _: Event) -> LatentFrames:
    """Encode an observation; return its latents in `dtype`."""
    with device_memory():
        return _to_host(encoder.encode(model, observation), dtype)


def predictions(
    model: WorldModel, chunk: int, scene: SceneHandle, call: UnrollCall, max_bytes: int
) -> Iterator[LatentFrames | None]:
    """Unroll the chosen candidates step by step; yields None for a step that the call leaves out.

    Raises:
        OutOfRangeError: one step is larger than `max_bytes`.
    """
    where = scene.encoded()
    candidates = call.action_candidates[0]
    chosen = candidates[list(call.samples)] if call.samples else candidates
    _check_size(len(chosen), where.start, max_bytes)
    actions = to_actions(model, chosen, call.actions_are_normalized)
    chunks = [unroll(model, where, part, call.actions_are_normalized, _NEVER) for part in actions.split(chunk)]
    for step, latents in enumerate(zip(*chunks, strict=True), start=1):
        wanted = not call.steps or step in call.steps
        yield _joined([_to_host(each, call.dtype) for each in latents]) if wanted else None


def next_step(steps: Iterator[LatentFrames | None], _: Event) -> LatentFrames | None:
    """Compute one more step."""
    with device_memory():
        return next(steps)


def _check_size(samples: int, frame: Latents, max_bytes: int) -> None:
    """Refuse a step too large for a message; a step's latents are as large as those of an encoded frame."""
    tensors = [tensor[:, -1] for tensor in (frame.visual, frame.proprio) if tensor is not None]
    size = samples * sum(tensor.numel() * 4 for tensor in tensors)
    if size > max_bytes:
        raise OutOfRangeError(
            f"one step of {samples} candidates is {size} bytes of latents; the limit is {max_bytes}",
            reason=Reason.LIMIT_EXCEEDED,
            field="samples",
        )


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
        array = tensor.to(torch.bfloat16).view(torch.int16).numpy(force=True).view(np.uint16)
    else:
        array = tensor.to(_DTYPES[dtype]).numpy(force=True)
    return array


def _joined(parts: list[LatentFrames]) -> LatentFrames:
    if len(parts) == 1:
        return parts[0]
    proprio = [part.proprio for part in parts if part.proprio is not None]
    return LatentFrames(np.concatenate([part.visual for part in parts]), np.concatenate(proprio) if proprio else None)
