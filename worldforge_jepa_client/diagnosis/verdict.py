"""The verdict, its thresholds with their reasons, and what is recommended to the planner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from worldforge_jepa_client.diagnosis.logs.windows import Hypothesis
from worldforge_jepa_client.diagnosis.measures import Prediction, Ranks, Reach
from worldforge_jepa_client.diagnosis.statistics import Estimate

USEFUL_RANK = 0.25
"""Mean rank at which a ranking is of use: half of chance. CEM keeps the best tenth or so of its candidates; where the
logged actions, which do lead to the goal, are worse than every fourth, the elites are mostly the wrong ones."""

CONTROL_RANK = 0.35
"""With the goal of another episode the rank must be chance, 0.5. Below this the model ranks the logged actions first
whatever the goal, or the episodes share their goals: then a good rank says nothing."""

LEAST_EPISODES = 12
"""With fewer no sign test over episodes can reach the corrected level: 40 hypotheses times 2 ** -11 is 0.02."""

NO_SENSITIVITY = 1e-6
"""Share of persistence's error by which predictions of two plans differ in a model that ignores its actions: float32
noise is far below, and a model with 0.1 % of the right response is at 1e-6."""

SAME = 1e-3
"""A prediction whose error is within this share of persistence's own is the present frame."""

FIT, WEAK, WRONG, CHANCE, NONE = (
    "fit",
    "weak beyond step {}",
    "inputs look wrong: {}",
    "no better than chance: {}",
    "no verdict: {}",
)

IGNORES, PRESENT, WORSE, DISTANCE, SCORES_IGNORE, SCORES_STRAY = CAUSES = (
    "the model ignores its actions",
    "the model predicts the present",
    "the model predicts worse than the present",
    "the model's distance to the goal orders nothing",
    "the scores ignore the actions",
    "the scores do not follow the actions",
)


@dataclass(frozen=True)
class Verdict:
    """The first line of a report.

    Attributes:
        text: all of it.
        hypothesis: the name of what is wrong with the inputs, where that is the verdict.
        cause: the likely cause, one of `CAUSES`, where the ranking is no better than chance.
    """

    text: str
    hypothesis: str | None = None
    cause: str | None = None

    @property
    def fit(self) -> bool:
        """True if model and inputs are fit to plan with."""
        return self.text == FIT


@dataclass(frozen=True)
class Evidence:
    """The measures that a verdict rests on; None, or nothing, is what the bounds on calls and bytes left out.

    Attributes:
        ranks: of the true actions among those of other windows.
        control: the same with the goals of other episodes.
        wrong: the hypothesis that is clear, if there is one.
        out_of_range: frames whose values cannot be of 0..255; nothing is measured of them.
        searched: whether the hypotheses were tried.
        reach: the ranking at each horizon in the model's own objective and weight.
        horizon: H.
        prediction: where the model has latents.
        ignores: whether all candidates cost the same.
    """

    ranks: Ranks | None
    control: Ranks | None
    wrong: Hypothesis | None
    out_of_range: Hypothesis | None
    searched: bool
    reach: Sequence[Reach]
    horizon: int
    prediction: Prediction | None
    ignores: bool


def judge(found: Evidence) -> Verdict:
    """Return the verdict."""
    if found.out_of_range is not None:
        return Verdict(WRONG.format(found.out_of_range.name), found.out_of_range.name)
    if found.ranks is None or found.control is None or not found.searched:
        return Verdict(NONE.format("the bound on calls or bytes was reached before the controls were done"))
    rank, control = found.ranks.rank, found.control.rank
    if min(rank.episodes, control.episodes) < LEAST_EPISODES:
        return Verdict(NONE.format(f"{rank.episodes} episodes, and at least {LEAST_EPISODES} are needed"))
    if control.high < CONTROL_RANK:
        return Verdict(NONE.format("with the goals of other episodes the true actions rank as well"))
    if found.wrong is not None:
        return Verdict(WRONG.format(found.wrong.name), found.wrong.name)
    if useful(rank, control):
        return Verdict(FIT)
    step = useful_horizon(found.reach)
    if 0 < step < found.horizon:
        return Verdict(WEAK.format(step))
    cause = cause_of(found.prediction, found.ignores)
    return Verdict(CHANCE.format(cause), cause=cause)


def useful(rank: Estimate, control: Estimate) -> bool:
    """Return True if a ranking is of use, and better than its control beyond both intervals."""
    return rank.mean <= USEFUL_RANK and rank.high < control.low


def useful_horizon(reach: Sequence[Reach]) -> int:
    """Return the last step at which the ranking is of use; 0 where it is at none."""
    return max((each.step for each in reach if useful(each.rank, each.control)), default=0)


def cause_of(prediction: Prediction | None, ignores: bool) -> str:
    """Return why a ranking is no better than chance, one of `CAUSES`, as far as latents tell."""
    if prediction is None:
        return SCORES_IGNORE if ignores else SCORES_STRAY
    if max(abs(each.mean - 1) for each in prediction.own) < SAME:
        return PRESENT
    if max(each.mean for each in prediction.sensitivity) < NO_SENSITIVITY:
        return IGNORES
    return WORSE if prediction.own[-1].low >= 1 else DISTANCE


def recommend(reach: Sequence[Reach], default: tuple[str, float], std: float) -> dict[str, Any]:
    """Return horizon, objective, proprio weight and initial deviation for the planner.

    The pair of objective and weight with the longest useful horizon is taken, the model's own where it does as well;
    among others the best mean rank decides. `std` is the deviation of the logged actions in the model's units.
    """

    def worth(pair: tuple[str, float]) -> tuple[int, bool, float]:
        own = [each for each in reach if (each.objective, each.weight) == pair]
        return useful_horizon(own), pair == default, -float(np.mean([each.rank.mean for each in own]))

    pairs = sorted({(each.objective, each.weight) for each in reach})
    objective, weight = best = max(pairs, key=worth, default=default)
    horizon = worth(best)[0] or None if pairs else None
    return {"horizon": horizon, "objective": objective, "proprio_weight": weight, "initial_std": std}
