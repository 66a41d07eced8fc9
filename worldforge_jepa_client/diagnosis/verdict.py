"""The verdict, its thresholds with their reasons, and what is recommended to the planner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldforge_jepa_client.diagnosis.measures import Prediction, Ranks, Reach
from worldforge_jepa_client.diagnosis.search import Tried
from worldforge_jepa_client.diagnosis.statistics import Estimate

USEFUL_RANK = 0.25
"""Mean rank at which a ranking is of use: half of chance. CEM keeps the best tenth or so of its candidates; where the
logged actions, which do lead to the goal, are worse than every fourth, the elites are mostly the wrong ones."""

CONTROL_RANK = 0.35
"""With the goal of another episode the rank must be chance, 0.5. Below this the model ranks the logged actions first
whatever the goal, or the episodes share their goals: then a good rank says nothing."""

LEAST_EPISODES = 10
"""Below this no sign test over episodes can reach the corrected level (2 to the power of -10 is 0.001)."""

NO_SENSITIVITY = 1e-6
"""Share of persistence's error by which predictions of two plans differ in a model that ignores its actions: float32
noise is far below, and a model with 0.1 % of the right response is at 1e-6."""

SAME = 1e-3
"""A prediction whose error is within this share of persistence's own is the present frame."""

FIT, WEAK, WRONG, CHANCE, NONE = (
    "fit",
    "weak beyond step {}",
    "inputs look wrong: {}",
    "no better than chance",
    "no verdict: {}",
)


@dataclass(frozen=True)
class Verdict:
    """The first line of a report: `text`, the hypothesis it names if any, and the likely cause of a poor ranking."""

    text: str
    hypothesis: str | None = None
    cause: str | None = None

    @property
    def fit(self) -> bool:
        """True if model and inputs are fit to plan with."""
        return self.text == FIT


def judge(
    *,
    ranks: Ranks | None,
    control: Ranks | None,
    wrong: Tried | None,
    searched: bool,
    reach: Sequence[Reach],
    horizon: int,
    prediction: Prediction | None,
    ignores: bool,
) -> Verdict:
    """Return the verdict; None, or nothing, stands for what the bounds on calls and bytes left out.

    Args:
        ranks: of the true actions among those of other windows.
        control: the same with the goals of other episodes.
        wrong: the clear hypothesis, if there is one.
        searched: whether the hypotheses were tried.
        reach: the ranking at each horizon in the model's own objective and weight.
        horizon: H.
        prediction: where the model has latents.
        ignores: whether all candidates cost the same.
    """
    if ranks is None or control is None or not searched:
        return Verdict(NONE.format("the bound on calls or bytes was reached before the controls were done"))
    if min(ranks.rank.episodes, control.rank.episodes) < LEAST_EPISODES:
        return Verdict(NONE.format(f"{ranks.rank.episodes} episodes, and at least {LEAST_EPISODES} are needed"))
    if control.rank.high < CONTROL_RANK:
        return Verdict(
            NONE.format("with the goals of other episodes the true actions rank as well, so rank is no sign")
        )
    if wrong is not None:
        return Verdict(WRONG.format(wrong.hypothesis.name), wrong.hypothesis.name)
    if useful(ranks.rank, control.rank):
        return Verdict(FIT)
    step = useful_horizon(reach)
    if 0 < step < horizon:
        return Verdict(WEAK.format(step))
    return Verdict(CHANCE, cause=cause_of(prediction, ignores))


def useful(rank: Estimate, control: Estimate) -> bool:
    """Return True if a ranking is of use, and better than its control beyond both intervals."""
    return rank.mean <= USEFUL_RANK and rank.high < control.low


def useful_horizon(reach: Sequence[Reach]) -> int:
    """Return the last step at which the ranking is of use; 0 where it is at none."""
    return max((each.step for each in reach if useful(each.rank, each.control)), default=0)


def cause_of(prediction: Prediction | None, ignores: bool) -> str:
    """Return why a ranking is no better than chance, as far as latents tell."""
    if prediction is None:
        return "its scores ignore the actions" if ignores else "its scores do not follow the actions"
    own = np.array([each.mean for each in prediction.own])
    if np.abs(own - 1).max() < SAME:
        return "the model predicts the present"
    if max(each.mean for each in prediction.sensitivity) < NO_SENSITIVITY:
        return "the model ignores its actions"
    if prediction.own[-1].low >= 1:
        return "its predictions are worse than the present frame, as with random weights or wrong inputs"
    return "its predictions are better than the present frame, yet its distance to the goal orders nothing"


def recommend(reach: Sequence[Reach], default: tuple[str, float], std: float | None) -> dict[str, Any]:
    """Return horizon, objective, proprio weight and initial deviation for the planner.

    The pair of objective and weight with the longest useful horizon is taken, the model's own where it does as well;
    among others the best mean rank decides. `std` is the deviation of the logged actions in the model's units.
    """
    pairs = {(each.objective, each.weight) for each in reach}
    if not pairs:
        return {"horizon": None, "objective": default[0], "proprio_weight": default[1], "initial_std": std}

    def worth(pair: tuple[str, float]) -> tuple[int, bool, float]:
        own = [each for each in reach if (each.objective, each.weight) == pair]
        return useful_horizon(own), pair == default, -float(np.mean([each.rank.mean for each in own]))

    best = max(sorted(pairs), key=worth)
    return {
        "horizon": worth(best)[0] or None,
        "objective": best[0],
        "proprio_weight": best[1],
        "initial_std": std,
    }
