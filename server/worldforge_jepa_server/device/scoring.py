"""Scores: how far a predicted latent ends from the goal's. Runs on the device thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.contract.validate import proprio_weight
from worldforge_jepa_client.errors import CallCancelledError, InternalError, invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.device.batching import Rollout, chunks, gather, split
from worldforge_jepa_server.device.clock import Clock
from worldforge_jepa_server.device.encoding import EncodedScene
from worldforge_jepa_server.device.memory import device_memory
from worldforge_jepa_server.models.contract import Latents, ScoreQuery, ScoringModel, ServedModel, WorldModel

_LARGEST_ACTION = 1e3  # standard deviations: beyond it a score that is not finite is the candidate's fault
_NAMED = 10  # indices in a message


class Flag(Protocol):
    """Says whether nobody waits for a result any more."""

    def is_set(self) -> bool:
        """Whether it is so."""


@dataclass(frozen=True)
class Scored:
    """Scores [S] on the device, what the caller is told of them, and the seconds each part took.

    `best_index` is None where it is the first of the best.
    """

    scores: Tensor
    metadata: Mapping[str, Any]
    unroll_seconds: float
    distance_seconds: float
    lower_is_better: bool = True
    best_index: int | None = None


def score(
    model: WorldModel, scene: EncodedScene, actions: Tensor, options: ScoreOptions, chunk_size: int, abandoned: Flag
) -> Scored:
    """Score actions [S, H, A], from `to_actions`, in a scene with a goal; see `score_together`.

    Raises:
        ResourceExhaustedError: the device is out of memory.
        InvalidArgumentError: candidates overflow in the model.
        InternalError: the model gave NaN or infinite scores.
    """
    with device_memory():
        (scored,) = score_together(model, [rollout(model, scene, actions, options)], chunk_size, abandoned)
    check_finite(scored.scores, actions)
    return scored


def rollout(model: WorldModel, scene: EncodedScene, actions: Tensor, options: ScoreOptions) -> Rollout:
    """What `score_together` takes, of a scene with a goal and actions [S, H, A] from `to_actions`."""
    assert scene.goal is not None
    history = _history(model, scene, options.actions_are_normalized)
    objective = options.objective or model.spec.objective
    return Rollout(scene.start, scene.goal, actions, history, objective, proprio_weight(options, model.spec))


@torch.inference_mode()
def score_together(model: WorldModel, rollouts: Sequence[Rollout], chunk_size: int, abandoned: Flag) -> list[Scored]:
    """Unroll `chunk_size` candidates at a time, of whichever rollouts, and measure.

    The same candidates in another batch take other kernels: scores then differ in their last bits.

    Args:
        model: predicts.
        rollouts: of one horizon and as many frames; everything has been checked against the model's spec.
        chunk_size: bounds memory.
        abandoned: noticed after each step of the horizon.

    Returns:
        one for each rollout, with the seconds of all together.

    Raises:
        CallCancelledError: `abandoned` was set.
    """
    clock, unroll_seconds, distance_seconds = Clock(model.spec.device), 0.0, 0.0
    costs: list[list[Tensor]] = [[] for _ in rollouts]
    for chunk in chunks(rollouts, chunk_size):
        indices, parts = zip(*chunk, strict=True)
        # Each step's latents are dropped as the next one's come.
        last = deque(_predict(model, *gather(parts), abandoned), maxlen=1).pop()
        unroll_seconds += clock.lap()
        for index, part, end in zip(indices, parts, split(last, parts), strict=True):
            costs[index].append(distance(end, part.goal, part.objective, part.proprio_weight))
        distance_seconds += clock.lap()
    return [
        Scored(torch.cat(each).float(), _metadata(whole), unroll_seconds, distance_seconds)
        for each, whole in zip(costs, rollouts, strict=True)
    ]


def _metadata(measured: Rollout) -> dict[str, Any]:
    return {
        "score_units": "latent_cost",
        "objective": measured.objective.value,
        "proprio_weight": measured.proprio_weight,
    }


def check_finite(scores: Tensor, actions: Tensor, first: int = 0) -> None:
    """Refuse scores [S] that are not finite, of normalized actions [S, H, A]; `first` is the index of the first.

    Raises:
        InvalidArgumentError: the candidates at fault are too large for any model; the message has their indices.
        InternalError: the model gave NaN or infinite scores of ordinary candidates.
    """
    if bool(torch.isfinite(scores).all()):
        return
    broken = torch.nonzero(~torch.isfinite(scores)).flatten()
    largest = actions[broken].abs().amax((1, 2))
    if bool((largest > _LARGEST_ACTION).all()):
        named = ", ".join(str(first + index) for index in broken[:_NAMED].tolist())
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise invalid(
            "action_candidates",
            f"has entries up to {float(largest.max()):g} in candidates {named}{more}, which overflow in the model; "
            f"normalized actions are of the order of 1, at most {_LARGEST_ACTION:g}",
            Reason.INVALID_VALUE,
        )
    raise InternalError(
        f"the model gave {len(broken)} of {len(scores)} scores as NaN or infinite", reason=Reason.NON_FINITE_SCORES
    )


def model_scores(
    model: ScoringModel, scene: EncodedScene, actions: Tensor, options: ScoreOptions, extra_info: Mapping[str, Any]
) -> Scored:
    """Ask a model for its own scores of normalized `actions` [S, H, A], all at once; the scene has its goal.

    Raises:
        ResourceExhaustedError: the device is out of memory.
        InternalError: the model failed, or what it answered is not what was asked.
    """
    assert scene.goal is not None
    clock = Clock(model.spec.device)
    history = None
    if scene.action_history is not None:
        history = to_actions(model, scene.action_history, options.actions_are_normalized)
    with device_memory():
        own = model.score(ScoreQuery(scene.start, scene.goal, history, actions.unsqueeze(0), options, extra_info))
    metadata = {"score_units": "model_score", **own.metadata}
    return Scored(torch.from_numpy(own.scores), metadata, clock.lap(), 0.0, own.lower_is_better, own.best_index)


@torch.inference_mode()
def unroll(
    model: WorldModel, scene: EncodedScene, actions: Tensor, history_is_normalized: bool, abandoned: Flag
) -> Iterator[Latents]:
    """Predict normalized actions [S, H, A], yielding each step's latents, T = 1.

    Raises:
        CallCancelledError: `abandoned` was set.
    """
    history = _history(model, scene, history_is_normalized)
    yield from _predict(model, scene.start, actions.transpose(0, 1), history, abandoned)


def _predict(
    model: WorldModel, start: Latents, actions: Tensor, history: Tensor | None, abandoned: Flag
) -> Iterator[Latents]:
    for predicted in model.unroll(start, actions, history):
        if abandoned.is_set():
            raise CallCancelledError("nobody waits for the result any more")
        yield predicted


def _history(model: WorldModel, scene: EncodedScene, is_normalized: bool) -> Tensor | None:
    """The normalized actions between a scene's frames, [T-1, 1, A]."""
    history = scene.action_history
    return None if history is None else to_actions(model, history, is_normalized).transpose(0, 1)


def to_actions(model: ServedModel, actions: NDArray[Any], are_normalized: bool) -> Tensor:
    """Actions [..., A] of a request to normalized ones on the model's device."""
    tensor = torch.from_numpy(np.array(actions, np.float32)).to(model.spec.device)
    return tensor if are_normalized else model.normalize_actions(tensor)


def distance(predicted: Latents, goal: Latents, objective: Objective, proprio_weight: float) -> Tensor:
    """The latent distance of each prediction to the goal, lower is better, in float32.

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
        InternalError: the two cannot be compared, or have no proprio although `proprio_weight` is not 0.
    """
    score = _feature_distance(predicted.visual[:, -1], goal.visual[:, -1], objective)
    if proprio_weight == 0:
        return score
    if predicted.proprio is None or goal.proprio is None:
        raise InternalError(
            f"proprio_weight is {proprio_weight}, but the model gave latents without proprio",
            reason=Reason.INVALID_LATENTS,
        )
    return score + proprio_weight * _feature_distance(predicted.proprio[:, -1], goal.proprio[:, -1], objective)


def _feature_distance(predicted: Tensor, goal: Tensor, objective: Objective) -> Tensor:
    predicted, goal = predicted.flatten(1).float(), goal.flatten(1).float()
    if predicted.shape[1] != goal.shape[1]:  # torch would repeat a single one
        raise InternalError(
            f"the model predicted {predicted.shape[1]} features for a goal of {goal.shape[1]}",
            reason=Reason.INVALID_LATENTS,
        )
    if objective is Objective.L2:
        return (predicted - goal).square().mean(1)
    if objective is Objective.L1:
        return (predicted - goal).abs().mean(1)
    return -F.cosine_similarity(predicted, goal, dim=1)
