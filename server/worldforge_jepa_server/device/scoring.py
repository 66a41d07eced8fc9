"""The distance of predicted latents to the goal's, and predictions step by step. Runs on the device thread."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.errors import CallCancelledError, InternalError, JepaError, invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.device.encoding import EncodedScene, history_of
from worldforge_jepa_server.models.contract import Latents, WorldModel

_LARGEST_ACTION = 1e3  # standard deviations: beyond it a score that is not finite is the candidate's fault
_NAMED = 10  # indices in a message


def caller_gone() -> CallCancelledError:
    """Return the error of work whose callers have gone."""
    return CallCancelledError("the caller has gone")


def non_finite(scores: NDArray[np.float32], actions: Tensor, first: int = 0) -> JepaError:
    """Return the error of scores [S] that are not all finite, of normalized actions [S, H, A].

    It is an InvalidArgumentError where the candidates at fault are too large for any model: the message has their
    indices, counted from `first`. It is an InternalError where the model gave NaN or infinity for ordinary ones.
    """
    broken = np.flatnonzero(~np.isfinite(scores))
    largest = actions[torch.from_numpy(broken)].abs().amax((1, 2))
    if bool((largest > _LARGEST_ACTION).all()):
        named = ", ".join(str(first + index) for index in broken[:_NAMED].tolist())
        more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        return invalid(
            "action_candidates",
            f"has entries up to {float(largest.max()):g} in candidates {named}{more}, which overflow in the model; "
            f"normalized actions are of the order of 1, at most {_LARGEST_ACTION:g}",
            Reason.INVALID_VALUE,
        )
    return InternalError(
        f"the model gave {len(broken)} of {len(scores)} scores as NaN or infinite", reason=Reason.NON_FINITE_SCORES
    )


@torch.inference_mode()
def unroll(model: WorldModel, scene: EncodedScene, actions: Tensor, history_is_normalized: bool) -> Iterator[Latents]:
    """Predict normalized actions [S, H, A], yielding each step's latents, T = 1."""
    history = history_of(model, scene, history_is_normalized)
    history = None if history is None else history.transpose(0, 1)
    yield from model.unroll(scene.start, actions.transpose(0, 1), history)


def distance(predicted: Latents, goal: Latents, objective: Objective, proprio_weight: float) -> Tensor:
    """Return the latent distance of each prediction to the goal, float32 [B]; lower is better.

    d(visual) + `proprio_weight` * d(proprio), where d is the mean squared difference (L2), the mean absolute
    difference (L1) or minus the cosine of the flattened features (COSINE). Only the last frame of each counts.

    Args:
        predicted: visual [B, T, N, D], proprio [B, T, N, D_proprio] or None.
        goal: the same with batch 1 or B.
        objective: which distance.
        proprio_weight: 0 leaves proprio out.

    Raises:
        InternalError: the two cannot be compared, or have no proprio although `proprio_weight` is not 0.
    """
    features = [(predicted.visual, goal.visual), (predicted.proprio, goal.proprio)]
    total: Tensor | None = None
    for mine, its in features if proprio_weight != 0 else features[:1]:
        if mine is None or its is None:
            raise InternalError(
                f"proprio_weight is {proprio_weight}, but the model gave latents without proprio",
                reason=Reason.INVALID_LATENTS,
            )
        mine, its = mine.select(1, -1).flatten(1).float(), its.select(1, -1).flatten(1).float()
        if mine.shape[1] != its.shape[1]:  # torch would repeat a single one
            problem = f"the model predicted {mine.shape[1]} features for a goal of {its.shape[1]}"
            raise InternalError(problem, reason=Reason.INVALID_LATENTS)
        if objective is Objective.COSINE:
            part = -F.cosine_similarity(mine, its, dim=1)
        else:
            difference = mine - its
            part = (difference.square() if objective is Objective.L2 else difference.abs()).mean(1)
        total = part if total is None else total + proprio_weight * part
    assert total is not None
    return total
