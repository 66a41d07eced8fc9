"""What runs on the device thread for each operation; the runtime queues these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.calls import LatentFrames, Observation, PlanCall, ScoreCall, ScoreOptions, UnrollCall
from worldforge_jepa_client.checks import check_goal_proprio
from worldforge_jepa_client.errors import OutOfRangeError
from worldforge_jepa_client.planning import Planner
from worldforge_jepa_server.device import Clock, device_memory
from worldforge_jepa_server.encoding import Encoder
from worldforge_jepa_server.models.contract import Latents, SelfScoringModel, ServedModel, WorldModel
from worldforge_jepa_server.scenes import Encode
from worldforge_jepa_server.scoring import Scored, own_scores, score, to_actions, unroll


@dataclass(frozen=True)
class Step:
    """What one piece of work gave, beside its scores on the host: float32 [S]."""

    scores: NDArray[np.float32]
    scored: Scored
    encode_seconds: float

    @property
    def best_index(self) -> int:
        """The first of the best, or the model's own choice."""
        return int(self.scores.argmin()) if self.scored.best_index is None else self.scored.best_index


def score_candidates(model: ServedModel, encode: Encode, call: ScoreCall, chunk_size: int, abandoned: Event) -> Step:
    """Score a call's candidates in its scene."""
    actions = to_actions(model, call.action_candidates[0], call.options.actions_are_normalized)
    return _score(model, encode, actions, call.options, call.extra_info, chunk_size, abandoned)


@dataclass(frozen=True)
class PlanStep(Step):
    """What one iteration gave: the planner's mean and best candidate, float32 [H, A]."""

    mean: NDArray[np.float32]
    best_actions: NDArray[np.float32]
    best_score: float
    spread: float


def improve_plan(
    model: ServedModel, encode: Encode, planner: Planner, call: PlanCall, chunk_size: int, abandoned: Event
) -> PlanStep:
    """One iteration: ask the planner, score in the scene, tell the planner, to which lower is better."""
    candidates = planner.ask()[0]
    actions = candidates if call.on_device else to_actions(model, candidates, True)
    step = _score(model, encode, actions, call.options, {}, chunk_size, abandoned)
    sign = 1 if step.scored.lower_is_better else -1
    planner.tell(sign * (step.scored.scores if call.on_device else step.scores))
    mean, best = (_array(actions) for actions in (planner.mean, planner.best_actions))
    return PlanStep(
        **vars(step), mean=mean, best_actions=best, best_score=sign * planner.best_score, spread=planner.spread
    )


def _score(
    model: ServedModel,
    encode: Encode,
    actions: Any,
    options: ScoreOptions,
    extra_info: Mapping[str, Any],
    chunk_size: int,
    abandoned: Event,
) -> Step:
    clock = Clock(model.spec.device)
    with device_memory():
        scene = encode()
    encode_seconds = clock.lap()
    check_goal_proprio(scene.goal, options, model.spec)
    if isinstance(model, SelfScoringModel):
        scored = own_scores(model, scene, actions, options, extra_info)
    else:
        scored = score(model, scene, actions, options, chunk_size, abandoned)
    return Step(scored.scores.cpu().numpy(), scored, encode_seconds)


def encode_frames(model: WorldModel, encoder: Encoder, observation: Observation, _: Event) -> LatentFrames:
    """Encode an observation."""
    with device_memory():
        return _to_host(encoder.encode(model, observation))


def predictions(model: WorldModel, encode: Encode, call: UnrollCall, max_bytes: int) -> Iterator[LatentFrames | None]:
    """Unroll the chosen candidates step by step; None stands for a step that was not asked for.

    Raises:
        OutOfRangeError: one step is larger than `max_bytes`.
    """
    scene = encode()
    candidates = call.action_candidates[0]
    chosen = candidates[list(call.samples)] if call.samples else candidates
    actions = to_actions(model, chosen, call.actions_are_normalized)
    for step, latents in enumerate(unroll(model, scene, actions, call.actions_are_normalized, Event()), start=1):
        if step == 1:
            _check_size(latents, max_bytes)
        yield _to_host(latents) if not call.steps or step in call.steps else None


def next_step(steps: Iterator[LatentFrames | None], _: Event) -> LatentFrames | None:
    """Compute one more step."""
    with device_memory():
        return next(steps)


def _check_size(latents: Latents, max_bytes: int) -> None:
    tensors = [tensor for tensor in (latents.visual, latents.proprio) if tensor is not None]
    size = sum(tensor.numel() * 4 for tensor in tensors)
    if size > max_bytes:
        raise OutOfRangeError(
            f"one step of {len(latents.visual)} candidates is {size} bytes of latents; the limit is {max_bytes}",
            reason="LIMIT_EXCEEDED",
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
