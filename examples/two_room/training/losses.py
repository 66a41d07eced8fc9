"""The loss terms that shape the latents, besides the prediction error.

The variance and covariance terms are VICReg's (Bardes et al. 2022, arXiv:2105.04906), but taken WITHIN a layout: over
all layouts together an encoder satisfies them by describing the walls and ignoring the agent.
Letters: G layouts, R trajectories in each, T frames, F = N * D flattened features, A packed action dim.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def centre(features: Tensor) -> Tensor:
    """[G, R, T, F] minus the mean of each layout, [G, R * T, F]."""
    flat = features.flatten(1, 2)
    return flat - flat.mean(1, keepdim=True)


def variance(centred: Tensor) -> Tensor:
    """Return the shortfall below 1 of each feature's std within each layout; `centred` [G, M, F]."""
    std = (centred.square().mean(1) + 1e-4).sqrt()
    return F.relu(1 - std).mean()


def covariance(centred: Tensor) -> Tensor:
    """The squared off-diagonal covariance per feature; `centred` [G, M, F]."""
    flat = centred.flatten(0, 1)
    matrix = flat.T @ flat / len(flat)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / len(matrix)


def smoothness(features: Tensor) -> Tensor:
    """The mean squared change from frame to frame; [G, R, T, F]."""
    return features.diff(dim=2).square().mean()


def contrast(features: Tensor, lag: int, scale: float = 3.0) -> Tensor:
    """InfoNCE within a layout: each frame finds the one `lag` later on its trajectory; [G, R, T, F].

    The logits are -`scale` * the mean squared difference (van den Oord et al. 2018, arXiv:1807.03748).
    """
    anchors, later = features[:, :, :-lag].flatten(1, 2), features[:, :, lag:].flatten(1, 2)
    logits = -scale * torch.cdist(anchors, later).square() / features.shape[-1]
    target = torch.arange(logits.shape[1]).expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten())


def layout_contrast(features: Tensor, scale: float = 10.0) -> Tensor:
    """InfoNCE between layouts: half of a layout's trajectories, averaged, find the other half; [G, R, T, F].

    Without it walls and door, which prediction within a layout does not tell apart from any other constant, fade from
    the latents, and the predictor no longer knows where the agent is stopped.
    """
    first, second = (half.mean((1, 2)) for half in features.chunk(2, dim=1))
    logits = -scale * torch.cdist(first, second).square() / features.shape[-1]
    return F.cross_entropy(logits, torch.arange(len(logits)))


def effective_rank(centred: Tensor) -> float:
    """exp(entropy of the normalized eigenvalues of the covariance) (Roy & Vetterli 2007); `centred` [M, F]."""
    eigenvalues = torch.linalg.svdvals(centred).square()
    share = eigenvalues / eigenvalues.sum()
    return float((-share * (share + 1e-12).log()).sum().exp())
