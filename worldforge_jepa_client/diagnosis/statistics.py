"""Ranks, intervals and tests; what is drawn again is episodes, since windows of one episode are no independent facts.

Letters: W windows, S candidates, E episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.diagnosis.logs.episodes import Ints

Floats = NDArray[np.float64]


RESAMPLES, FLIPS = 2000, 20000
TIE = 1e-5
"""Costs nearer than this share of the largest are equal: no more than that is left of float32 after a model."""


@dataclass(frozen=True)
class Estimate:
    """A mean over windows with its 95 % interval, from `episodes` episodes."""

    mean: float
    low: float
    high: float
    episodes: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def ranks_of_first(costs: NDArray[Any]) -> Floats:
    """Return the share of the other candidates that cost less than the first, a tie counting half: (W, S) to (W,).

    A window of NaN has rank NaN.
    """
    first, others = costs[:, :1], costs[:, 1:]
    tolerance = TIE * np.abs(costs).max(axis=1, keepdims=True)
    less, equal = others < first - tolerance, np.abs(others - first) <= tolerance
    ranks: Floats = (less + 0.5 * equal).mean(axis=1)
    return np.where(np.isnan(costs).any(axis=1), np.nan, ranks)


def bits(ranks: Floats, others: int) -> Floats:
    """Return log2(1 + candidates that cost less): from 0 to log2(1 + others), most telling where ranks are good."""
    return np.log2(1 + ranks * others)


def margins(costs: NDArray[Any]) -> Floats:
    """Return log2 of the median foreign cost over the true actions' cost, (W, S) to (W,): finer than a rank.

    Costs that may be negative have no ratio: of them it is the gap in deviations of the foreign costs.
    """
    first, others = costs[:, 0], costs[:, 1:]
    middle = np.median(others, axis=1)
    floor = TIE * np.abs(costs).max(axis=1) + 1e-30
    if (np.nan_to_num(costs) < 0).any():
        gaps: Floats = (middle - first) / np.maximum(others.std(axis=1), floor)
        return gaps
    ratios: Floats = np.log2((middle + floor) / (first + floor))
    return ratios


def pooled_auroc(costs: NDArray[Any]) -> Floats:
    """Return for each window how many foreign candidates of all windows cost more than its true actions: (W,).

    Costs are standardized within their window first; the mean is the area under the ROC curve.
    """
    others = costs[:, 1:]
    scale = np.maximum(others.std(axis=1, keepdims=True), TIE * np.abs(costs).max(axis=1, keepdims=True) + 1e-30)
    standard = (costs - others.mean(axis=1, keepdims=True)) / scale
    pool = np.sort(standard[:, 1:][~np.isnan(standard[:, 1:])])
    if not len(pool):
        return np.full(len(costs), np.nan)
    left, right = (np.searchsorted(pool, standard[:, 0], side) for side in ("left", "right"))
    area: Floats = 1 - (left + right) / (2 * len(pool))
    return np.where(np.isnan(standard[:, 0]), np.nan, area)


def estimate(values: NDArray[Any], episodes: Ints, seed: int, weights: NDArray[Any] | None = None) -> Estimate:
    """Return the mean of `values` (W,) with a bootstrap interval over `episodes` (W,).

    With `weights` (W,) the mean is sum(values) / sum(weights): the ratio of two means. NaN are left out.
    """
    weight = np.ones(len(values)) if weights is None else weights
    totals, counts = _by_episode(values, weight, episodes)
    if not len(totals):
        return Estimate(np.nan, np.nan, np.nan, 0)
    drawn = np.random.default_rng(seed).integers(len(totals), size=(RESAMPLES, len(totals)))
    means = totals[drawn].sum(axis=1) / np.maximum(counts[drawn].sum(axis=1), 1e-30)
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(totals.sum() / max(counts.sum(), 1e-30)), float(low), float(high), len(totals))


def sign_flip_p(differences: NDArray[Any], episodes: Ints, seed: int) -> float:
    """Return the one-sided p of a mean above 0: how often random signs of whole episodes give as much."""
    totals, _ = _by_episode(differences, np.ones(len(differences)), episodes)
    if not len(totals):
        return 1.0
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, len(totals)))
    return float((1 + (signs @ totals >= totals.sum() - 1e-12).sum()) / (FLIPS + 1))


def kendall_tau(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return Kendall's tau-a of two (n,), ties counting 0."""
    upper = np.triu_indices(len(a), 1)
    signs = np.sign(a[:, None] - a[None])[upper] * np.sign(b[:, None] - b[None])[upper]
    return float(signs.mean())


def _by_episode(values: NDArray[Any], weights: NDArray[Any], episodes: Ints) -> tuple[Floats, Floats]:
    """Sums of values and of weights for each episode that has any."""
    kept = ~(np.isnan(values) | np.isnan(weights))
    _, index = np.unique(episodes[kept], return_inverse=True)
    totals, counts = (np.bincount(index, each[kept]).astype(np.float64) for each in (values, weights))
    return totals, counts
