"""Scores: how far a predicted latent ends from the goal's. Runs on the device thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Event

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from worldforge_jepa_client.calls import Observation as ObservationArrays
from worldforge_jepa_client.calls import ScoreCall
from worldforge_jepa_client.errors import CallCancelledError, InternalError, ResourceExhaustedError
from worldforge_jepa_client.spec import FREE, Objective
from worldforge_jepa_server.models.contract import Latents, Observation, OwnScores, SelfScoring, WorldModel

_WARM_UP_PIXELS = 64
_WARM_UP_SAMPLES = 8


@dataclass(frozen=True)
class Scored:
    """Scores float32[S], what they were measured with, and the seconds each part took.

    `own` is set where the model scored by itself, all of it in `unroll_seconds`: then there is no objective.
    """

    scores: NDArray[np.float32]
    objective: Objective | None
    proprio_weight: float | None
    encode_seconds: float
    unroll_seconds: float
    distance_seconds: float
    own: OwnScores | None = None


def use_threads(threads: int) -> None:
    """Set torch's threads for the calling thread; 0 keeps torch's own choice, one per core."""
    if threads:
        torch.set_num_threads(threads)


def warm_up(model: WorldModel) -> None:
    """Score zeros once, so that the first caller does not pay for allocations and kernel choices.

    A model that cannot score what its own spec allows fails here, before the server says it is ready. One that scores
    by itself, or does not say what actions it takes, is left alone: zeros might be no scene to it.
    """
    spec = model.spec
    if isinstance(model, SelfScoring) or spec.action_dim == FREE:
        return
    frames = ObservationArrays(
        np.zeros([_WARM_UP_PIXELS if size == FREE else size for size in (1, 1, *spec.visual.shape[2:])], np.uint8),
        np.zeros((1, 1, spec.proprio_dim), np.float32) if spec.proprio else None,
    )
    candidates = np.zeros((1, _WARM_UP_SAMPLES, spec.context_window + 1, spec.action_dim), np.float32)
    score(model, ScoreCall(frames, frames, candidates), _WARM_UP_SAMPLES, Event())


@torch.inference_mode()
def score(model: WorldModel, call: ScoreCall, chunk_size: int, abandoned: Event) -> Scored:
    """Encode, unroll `chunk_size` candidates at a time, measure; `call` has been checked against the model's spec.

    Raises:
        CallCancelledError: `abandoned` was set; noticed between two steps of the horizon.
        ResourceExhaustedError: the device is out of memory.
        InternalError: the model gave NaN or infinite scores.
    """
    try:
        scored = _own_scores(model, call) or _score(model, call, chunk_size, abandoned)
    except torch.OutOfMemoryError as error:
        raise ResourceExhaustedError(
            f"the device is out of memory with {chunk_size} candidates at a time", reason="OUT_OF_MEMORY"
        ) from error
    broken = np.count_nonzero(~np.isfinite(scored.scores))
    if broken:
        raise InternalError(
            f"the model gave {broken} of {scored.scores.size} scores as NaN or infinite", reason="NON_FINITE_SCORES"
        )
    return scored


def _own_scores(model: WorldModel, call: ScoreCall) -> Scored | None:
    clock = _Clock(torch.device(model.spec.device))
    own = model.score(call) if isinstance(model, SelfScoring) else None
    return Scored(own.scores, None, None, 0.0, clock.lap(), 0.0, own) if own else None


def _score(model: WorldModel, call: ScoreCall, chunk_size: int, abandoned: Event) -> Scored:
    spec, options = model.spec, call.options
    clock = _Clock(torch.device(spec.device))
    objective = options.objective or spec.objective
    weight = spec.proprio_weight if options.proprio_weight is None else options.proprio_weight

    context, goal = (model.encode(_to_device(item, spec.device)) for item in (call.observation, call.goal))
    encode_seconds = clock.lap()
    actions = _actions(model, call.action_candidates[0], options.actions_are_normalized).transpose(0, 1)
    history = None
    if call.action_history is not None:
        history = _actions(model, call.action_history[0], options.actions_are_normalized).unsqueeze(1)

    unroll_seconds = distance_seconds = 0.0
    costs = []
    for chunk in actions.split(chunk_size, dim=1):
        last = _last_latents(model, context, chunk, history, abandoned)
        unroll_seconds += clock.lap()
        costs.append(distance(last, goal, objective, weight))
        distance_seconds += clock.lap()
    scores = torch.cat(costs).float().cpu().numpy()
    return Scored(scores, objective, weight, encode_seconds, unroll_seconds, distance_seconds + clock.lap())


def _last_latents(
    model: WorldModel, context: Latents, actions: Tensor, history: Tensor | None, abandoned: Event
) -> Latents:
    for predicted in model.unroll(context, actions, history):
        if abandoned.is_set():
            raise CallCancelledError("nobody waits for the scores any more")
        last = predicted
    return last


def _actions(model: WorldModel, actions: NDArray[np.generic], normalized: bool) -> Tensor:
    tensor = torch.tensor(actions, device=model.spec.device, dtype=torch.float32)
    return tensor if normalized else model.normalize_actions(tensor)


def _to_device(observation: ObservationArrays, device: str) -> Observation:
    proprio = observation.proprio
    return Observation(
        torch.tensor(observation.visual, device=device),
        None if proprio is None else torch.tensor(proprio, device=device, dtype=torch.float32),
    )


class _Clock:
    """Seconds between laps, with the device's queued kernels finished."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._last = time.perf_counter()

    def lap(self) -> float:
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed


def distance(predicted: Latents, goal: Latents, objective: Objective, proprio_weight: float) -> Tensor:
    """The latent distance of each prediction to the goal, lower is better.

    d(visual) + `proprio_weight` * d(proprio), where d is the mean squared difference (L2), the mean absolute
    difference (L1) or minus the cosine of the flattened features (COSINE). Only the last frame of each counts.

    Args:
        predicted: visual [B, T, N, D], proprio [B, T, N, Pemb] or None.
        goal: the same with batch 1 or B.
        objective: which distance.
        proprio_weight: 0 leaves proprio out.

    Returns:
        [B].

    Raises:
        ValueError: `proprio_weight` is not 0, but one of the two has no proprio.
    """
    score = _feature_distance(predicted.visual[:, -1], goal.visual[:, -1], objective)
    if proprio_weight == 0:
        return score
    if predicted.proprio is None or goal.proprio is None:
        raise ValueError(f"proprio_weight is {proprio_weight}, but the latents have no proprio")
    return score + proprio_weight * _feature_distance(predicted.proprio[:, -1], goal.proprio[:, -1], objective)


def _feature_distance(predicted: Tensor, goal: Tensor, objective: Objective) -> Tensor:
    predicted, goal = predicted.flatten(1), goal.flatten(1)
    if objective is Objective.L2:
        return (predicted - goal).square().mean(1)
    if objective is Objective.L1:
        return (predicted - goal).abs().mean(1)
    return -F.cosine_similarity(predicted, goal, dim=1)
