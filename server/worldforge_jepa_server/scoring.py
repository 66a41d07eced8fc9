"""Scores: how far a predicted latent ends from the goal's. Runs on the device thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from worldforge_jepa_client.calls import ScoreOptions
from worldforge_jepa_client.checks import proprio_weight
from worldforge_jepa_client.errors import CallCancelledError, InternalError
from worldforge_jepa_client.spec import Objective
from worldforge_jepa_server.device import Clock, device_memory
from worldforge_jepa_server.encoding import EncodedScene
from worldforge_jepa_server.models.contract import Latents, WorldModel


@dataclass(frozen=True)
class Scored:
    """Costs [S] on the device, what they were measured with, and the seconds each part took."""

    scores: Tensor
    objective: Objective
    proprio_weight: float
    unroll_seconds: float
    distance_seconds: float


@torch.inference_mode()
def score(
    model: WorldModel, scene: EncodedScene, actions: Tensor, options: ScoreOptions, chunk_size: int, abandoned: Event
) -> Scored:
    """Unroll `chunk_size` candidates at a time and measure; everything has been checked against the model's spec.

    Args:
        model: predicts.
        scene: with its goal.
        actions: normalized, [S, H, A], from `to_actions`.
        options: how to measure, and the units of the scene's history.
        chunk_size: bounds memory.
        abandoned: set once nobody waits; noticed after each step of the horizon.

    Raises:
        CallCancelledError: `abandoned` was set.
        ResourceExhaustedError: the device is out of memory.
        InternalError: the model gave NaN or infinite scores.
    """
    assert scene.goal is not None
    clock, unroll_seconds, distance_seconds = Clock(model.spec.device), 0.0, 0.0
    objective, weight = options.objective or model.spec.objective, proprio_weight(options, model.spec)
    costs = []
    with device_memory():
        for chunk in actions.split(chunk_size):
            # Each step's latents are dropped as the next one's come.
            last = deque(unroll(model, scene, chunk, options.actions_are_normalized, abandoned), maxlen=1).pop()
            unroll_seconds += clock.lap()
            costs.append(distance(last, scene.goal, objective, weight))
            distance_seconds += clock.lap()
    scores = torch.cat(costs).float()
    broken = int((~scores.isfinite()).sum())
    if broken:
        raise InternalError(
            f"the model gave {broken} of {len(scores)} scores as NaN or infinite", reason="NON_FINITE_SCORES"
        )
    return Scored(scores, objective, weight, unroll_seconds, distance_seconds + clock.lap())


@torch.inference_mode()
def unroll(
    model: WorldModel, scene: EncodedScene, actions: Tensor, history_is_normalized: bool, abandoned: Event
) -> Iterator[Latents]:
    """Predict normalized actions [S, H, A], yielding each step's latents, T = 1.

    Raises:
        CallCancelledError: `abandoned` was set.
    """
    history = None
    if scene.action_history is not None:
        history = to_actions(model, scene.action_history, history_is_normalized).transpose(0, 1)
    for predicted in model.unroll(scene.start, actions.transpose(0, 1), history):
        if abandoned.is_set():
            raise CallCancelledError("nobody waits for the result any more")
        yield predicted


def to_actions(model: WorldModel, actions: NDArray[Any], are_normalized: bool) -> Tensor:
    """Actions [..., A] of a request to normalized ones on the model's device."""
    tensor = torch.tensor(actions, device=model.spec.device, dtype=torch.float32)
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
        ValueError: `proprio_weight` is not 0, but one of the two has no proprio.
    """
    score = _feature_distance(predicted.visual[:, -1], goal.visual[:, -1], objective)
    if proprio_weight == 0:
        return score
    if predicted.proprio is None or goal.proprio is None:
        raise ValueError(f"proprio_weight is {proprio_weight}, but the latents have no proprio")
    return score + proprio_weight * _feature_distance(predicted.proprio[:, -1], goal.proprio[:, -1], objective)


def _feature_distance(predicted: Tensor, goal: Tensor, objective: Objective) -> Tensor:
    predicted, goal = predicted.flatten(1).float(), goal.flatten(1).float()
    if objective is Objective.L2:
        return (predicted - goal).square().mean(1)
    if objective is Objective.L1:
        return (predicted - goal).abs().mean(1)
    return -F.cosine_similarity(predicted, goal, dim=1)
