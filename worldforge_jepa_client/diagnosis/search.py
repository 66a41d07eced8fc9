"""Tries the hypotheses on the same windows as what was sent: all on a few windows, the best of them on all.

Letters: W windows, S candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldforge_jepa_client.diagnosis.logs.episodes import Array, Ints
from worldforge_jepa_client.diagnosis.logs.windows import Hypothesis, Windows, draw_foreign
from worldforge_jepa_client.diagnosis.probe import OutOfBudgetError, Probe
from worldforge_jepa_client.diagnosis.statistics import Floats, bits, margins, ranks_of_first, sign_flip_p

SCREEN_WINDOWS, SCREEN_SAMPLES = 32, 32
CONFIRMED = 6
SEARCH_HORIZON = 2
"""Model steps of the search: an action one step late moves the end as much after a short way as after a long one, where
the ends of other candidates lie further apart and hide it."""

ALPHA = 0.01
"""Of one wrong accusation among all hypotheses together: Bonferroni's correction divides it by their number."""

LEAST_BITS = 0.2
"""The least improvement worth naming, in halvings of the candidates ranked before the true actions; a wrong input that
costs less than a fifth of one does no harm that planning would show."""


@dataclass(frozen=True)
class Tried:
    """A hypothesis beside what was sent, on the windows that both could use.

    Attributes:
        hypothesis: what was sent instead.
        rank: mean rank of the true actions under it.
        sent_rank: as they were sent, on the same windows.
        gain: mean bits saved, see `statistics.bits`.
        p: of margins no wider (see `statistics.margins`), one-sided and corrected for the number of hypotheses.
        windows: how many.
        clear: whether it ranks clearly better.
    """

    hypothesis: Hypothesis
    rank: float
    sent_rank: float
    gain: float
    p: float
    windows: int
    clear: bool


def try_hypotheses(
    probe: Probe, windows: Windows, foreign: Ints, wrong: Sequence[Hypothesis], seed: int
) -> list[Tried]:
    """Return what was tried, the best gain first; only the best of the first round are tried on all windows.

    Args:
        probe: makes the calls.
        windows: to score.
        foreign: as for `Probe.rank`.
        wrong: the hypotheses, cheap ones first.
        seed: of the draws.

    Raises:
        OutOfBudgetError: not even one hypothesis could be tried.
    """
    windows = windows.first(len(windows), min(SEARCH_HORIZON, windows.shape.horizon))
    few = windows.first(SCREEN_WINDOWS)
    screened = _screen(probe, few, draw_foreign(few, SCREEN_SAMPLES, seed), wrong, seed)
    # A gain on few windows is no verdict, but none at all needs no second look.
    hopeful = [tried.hypothesis for tried in screened[:CONFIRMED] if tried.gain > 0]
    confirmed = _confirm(probe, windows, foreign, hopeful, len(wrong), seed) if hopeful else []
    return [*confirmed, *(tried for tried in screened if tried.hypothesis not in hopeful)]


def best_of(tried: Sequence[Tried]) -> Tried | None:
    """Return the clear hypothesis that gains most, if any is clear."""
    return max((each for each in tried if each.clear), key=lambda each: each.gain, default=None)


def _screen(probe: Probe, few: Windows, picks: Ints, wrong: Sequence[Hypothesis], seed: int) -> list[Tried]:
    sent = probe.rank("as sent, on few windows", few, picks)
    found: list[Tried] = []
    for hypothesis in wrong:
        try:
            costs = probe.rank(f"what may be wrong: {hypothesis.family}", few, picks, wrong=hypothesis)
        except OutOfBudgetError:
            if not found:
                raise
            break
        found.append(_compare(hypothesis, costs, sent, few.episode, len(wrong), seed))
    return sorted(found, key=lambda tried: -tried.gain)


def _confirm(
    probe: Probe, windows: Windows, foreign: Ints, hopeful: Sequence[Hypothesis], number: int, seed: int
) -> list[Tried]:
    """Try the hopeful of `number` hypotheses on all windows."""
    sent = probe.rank("as sent, a short way", windows, foreign)
    confirmed = []
    for hypothesis in hopeful:
        costs = probe.rank("what may be wrong, on all windows", windows, foreign, wrong=hypothesis)
        confirmed.append(_compare(hypothesis, costs, sent, windows.episode, number, seed, final=True))
    return sorted(confirmed, key=lambda tried: -tried.gain)


def _compare(
    hypothesis: Hypothesis, costs: Array, sent: Array, episodes: Ints, number: int, seed: int, *, final: bool = False
) -> Tried:
    """Pair a hypothesis's costs (W, S) with those of what was sent."""
    other, own = ranks_of_first(costs), ranks_of_first(sent)
    both = ~(np.isnan(other) | np.isnan(own))
    if not both.any():
        return Tried(hypothesis, np.nan, np.nan, 0.0, 1.0, 0, False)
    gains: Floats = bits(own, sent.shape[1] - 1) - bits(other, costs.shape[1] - 1)
    gain = float(gains[both].mean())
    wider = (margins(costs) - margins(sent))[both]
    p = min(1.0, number * sign_flip_p(wider, episodes[both], seed)) if gain > 0 else 1.0
    clear = final and p < ALPHA and gain >= LEAST_BITS
    return Tried(hypothesis, float(other[both].mean()), float(own[both].mean()), gain, p, int(both.sum()), clear)
