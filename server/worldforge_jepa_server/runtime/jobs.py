"""What runs on the device thread for each operation; the runtime queues these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.contract.types import (
    LatentFrames,
    Observation,
    PlanCall,
    ScoreCall,
    ScoreOptions,
    UnrollCall,
)
from worldforge_jepa_client.contract.validate import check_goal_proprio
from worldforge_jepa_client.errors import OutOfRangeError
from worldforge_jepa_client.planning import Planner
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.device.clock import Clock
from worldforge_jepa_server.device.encoding import Encoder
from worldforge_jepa_server.device.memory import device_memory
from worldforge_jepa_server.device.scoring import model_scores, to_actions, unroll
from worldforge_jepa_server.models.contract import Latents, ScoringModel, WorldModel
from worldforge_jepa_server.runtime.model_table import Deployment
from worldforge_jepa_server.runtime.scenes import OpenScene
from worldforge_jepa_server.runtime.score_job import Scoring, Step
from worldforge_jepa_server.scheduling.engine import Call, Job

_R = TypeVar("_R")
_NEVER = Event()


def score_candidates(deployment: Deployment, scene: OpenScene, call: ScoreCall) -> Job[Step]:
    """Score a call's candidates in a scene."""
    candidates = call.action_candidates[0]
    ask = partial(to_actions, deployment.model, candidates, call.options.actions_are_normalized)
    return _scoring(deployment, scene, call.options, candidates.shape, ask, lambda step: step, call.extra_info)


@dataclass(frozen=True)
class PlanStep(Step):
    """What one iteration gave: the planner's mean and best candidate, float32 [H, A]."""

    mean: NDArray[np.float32]
    best_actions: NDArray[np.float32]
    best_score: float
    spread: float


def improve_plan(deployment: Deployment, scene: OpenScene, planner: Planner, call: PlanCall) -> Job[PlanStep]:
    """One iteration: ask the planner, score in the scene, tell the planner, to which lower is better."""

    def ask() -> Any:
        candidates = planner.ask()[0]
        return candidates if call.on_device else to_actions(deployment.model, candidates, True)

    def tell(step: Step) -> PlanStep:
        sign = 1 if step.scored.lower_is_better else -1
        planner.tell(sign * (step.scored.scores if call.on_device else step.scores))
        mean, best = (_array(actions) for actions in (planner.mean, planner.best_actions))
        return PlanStep(
            **vars(step), mean=mean, best_actions=best, best_score=sign * planner.best_score, spread=planner.spread
        )

    shape = (planner.samples, planner.horizon, planner.action_dim)
    return _scoring(deployment, scene, call.options, shape, ask, tell, {})


def _scoring(
    deployment: Deployment,
    scene: OpenScene,
    options: ScoreOptions,
    shape: tuple[int, int, int],
    ask: Callable[[], Tensor],
    tell: Callable[[Step], _R],
    extra_info: Mapping[str, Any],
) -> Job[_R]:
    """The job that `Scoring` describes; a model that scores by itself does it in one go, and alone."""
    model = deployment.model
    if not isinstance(model, ScoringModel):
        return Scoring(deployment, scene, options, shape, ask, tell)

    def score(_: Event) -> _R:
        clock = Clock(model.spec.device)
        with device_memory():
            encoded = scene.encoded()
        encode_seconds = clock.lap()
        check_goal_proprio(encoded.goal, options, model.spec)
        scored = model_scores(model, encoded, ask(), options, extra_info)
        return tell(Step(scored.scores.cpu().numpy(), scored, encode_seconds))

    return Call(score, shape[0] * shape[1])


def encode_frames(model: WorldModel, encoder: Encoder, observation: Observation, _: Event) -> LatentFrames:
    """Encode an observation."""
    with device_memory():
        return _to_host(encoder.encode(model, observation))


def predictions(
    deployment: Deployment, scene: OpenScene, call: UnrollCall, max_bytes: int
) -> Iterator[LatentFrames | None]:
    """Unroll the chosen candidates step by step; None stands for a step that was not asked for.

    Raises:
        OutOfRangeError: one step is larger than `max_bytes`.
    """
    model, where = deployment.world, scene.encoded()
    candidates = call.action_candidates[0]
    chosen = candidates[list(call.samples)] if call.samples else candidates
    _check_size(len(chosen), where.start, max_bytes)
    actions = to_actions(model, chosen, call.actions_are_normalized)
    chunks = [
        unroll(model, where, chunk, call.actions_are_normalized, _NEVER) for chunk in actions.split(deployment.chunk)
    ]
    for step, latents in enumerate(zip(*chunks, strict=True), start=1):
        yield _joined([_to_host(each) for each in latents]) if not call.steps or step in call.steps else None


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
    """A planner's arrays as numpy, wherever they live."""
    return np.array(actions.numpy(force=True) if hasattr(actions, "numpy") else actions, dtype=np.float32)


def _to_host(latents: Latents) -> LatentFrames:
    proprio = latents.proprio
    return LatentFrames(
        latents.visual.float().cpu().numpy(), None if proprio is None else proprio.float().cpu().numpy()
    )


def _joined(parts: list[LatentFrames]) -> LatentFrames:
    if len(parts) == 1:
        return parts[0]
    proprio = [part.proprio for part in parts if part.proprio is not None]
    return LatentFrames(np.concatenate([part.visual for part in parts]), np.concatenate(proprio) if proprio else None)
