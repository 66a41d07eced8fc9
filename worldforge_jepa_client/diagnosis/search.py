"""Tries the hypotheses on the same windows as what was sent: all on a few windows, the best of them on all.

Letters: W windows, S candidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from worldforge_jepa_client.diagnosis.logs.episodes import Array, Ints
from worldforge_jepa_client.diagnosis.logs.windows import AS_SENT, Hypothesis, Windows, draw_foreign
from worldforge_jepa_client.diagnosis.probe import OutOfBudgetError, Probe
from worldforge_jepa_client.diagnosis.statistics import Floats, bits, margins, ranks_of_first, sign_flip_p

SCREEN_WINDOWS, SCREEN_SAMPLES = 16, 16
CONFIRMED, CONFIRM_SAMPLES = 4, 32
CANDIDATES_A_CALL = 128
"""Candidates of several hypotheses that are scored together, about as many as a planner sends."""

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
        margin: mean margin gained, see `statistics.margins`; it tells hypotheses apart on fewer windows than ranks do.
        p: of no margin gained, one-sided and corrected for the number of hypotheses.
        windows: how many.
        clear: whether it ranks clearly better.
    """

    hypothesis: Hypothesis
    rank: float
    sent_rank: float
    gain: float
    margin: float
    p: float
    windows: int
    clear: bool


def try_hypotheses(probe: Probe, windows: Windows, wrong: Sequence[Hypothesis], seed: int) -> list[Tried]:
    """Return what was tried, the widest margin first; only the best of the first round are tried on all windows.

    Args:
        probe: makes the calls.
        windows: to score.
        wrong: the hypotheses, cheap ones first.
        seed: of the draws.

    Raises:
        OutOfBudgetError: not even one hypothesis could be tried.
    """
    windows = windows.first(len(windows), min(SEARCH_HORIZON, windows.shape.horizon))
    few = windows.first(SCREEN_WINDOWS)
    screened = _screen(probe, few, draw_foreign(few, SCREEN_SAMPLES, seed), wrong, seed)
    # A margin on few windows is no verdict, but none at all needs no second look.
    hopeful = [tried.hypothesis for tried in screened[:CONFIRMED] if tried.margin > 0]
    picks = draw_foreign(windows, CONFIRM_SAMPLES, seed)
    confirmed = _confirm(probe, windows, picks, hopeful, len(wrong), seed) if hopeful else []
    return [*confirmed, *(tried for tried in screened if tried.hypothesis not in hopeful)]


def best_of(tried: Sequence[Tried]) -> Tried | None:
    """Return the clear hypothesis of the widest margin, if any is clear."""
    return max((each for each in tried if each.clear), key=lambda each: each.margin, default=None)


def _screen(probe: Probe, few: Windows, picks: Ints, wrong: Sequence[Hypothesis], seed: int) -> list[Tried]:
    found: list[Tried] = []
    try:
        for hypothesis, costs, sent in _ranked(probe, "what may be wrong", few, picks, wrong):
            found.append(_compare(hypothesis, costs, sent, few.episode, len(wrong), seed))
    except OutOfBudgetError:
        if not found:
            raise
    return sorted(found, key=lambda tried: -tried.margin)


def _confirm(
    probe: Probe, windows: Windows, picks: Ints, hopeful: Sequence[Hypothesis], number: int, seed: int
) -> list[Tried]:
    """Try the hopeful of `number` hypotheses on all windows."""
    confirmed = [
        _compare(hypothesis, costs, sent, windows.episode, number, seed, final=True)
        for hypothesis, costs, sent in _ranked(probe, "what may be wrong, on all windows", windows, picks, hopeful)
    ]
    return sorted(confirmed, key=lambda tried: -tried.margin)


def _ranked(
    probe: Probe, stage: str, windows: Windows, picks: Ints, wrong: Sequence[Hypothesis]
) -> Iterator[tuple[Hypothesis, Array, Array]]:
    """Yield each hypothesis with its costs (W, S) and those of what was sent."""
    (sent,) = probe.rank_each(f"{stage}: as sent", windows, picks, [AS_SENT])
    for group in _groups(wrong, max(1, CANDIDATES_A_CALL // sent.shape[1])):
        found = probe.rank_each(f"{stage}: {group[0].family}", windows, picks, group)
        yield from ((each, costs, sent) for each, costs in zip(group, found, strict=True))


def _groups(wrong: Sequence[Hypothesis], most: int) -> Iterator[list[Hypothesis]]:
    """Yield those that change only the actions up to `most` at a time, since one call scores them, and others alone."""
    sharing = [each for each in wrong if each.keeps_scene]
    yield from (sharing[first : first + most] for first in range(0, len(sharing), most))
    yield from ([each] for each in wrong if not each.keeps_scene)


def _compare(
    hypothesis: Hypothesis, costs: Array, sent: Array, episodes: Ints, number: int, seed: int, *, final: bool = False
) -> Tried:
    """Pair a hypothesis's costs (W, S) with those of what was sent."""
    other, own = ranks_of_first(costs), ranks_of_first(sent)
    both = ~(np.isnan(other) | np.isnan(own))
    if not both.any():
        return Tried(hypothesis, np.nan, np.nan, 0.0, 0.0, 1.0, 0, False)
    gain = float((bits(own, sent.shape[1] - 1) - bits(other, costs.shape[1] - 1))[both].mean())
    wider: Floats = (margins(costs) - margins(sent))[both]
    margin = float(wider.mean())
    p = min(1.0, number * sign_flip_p(wider, episodes[both], seed)) if margin > 0 else 1.0
    clear = final and p < ALPHA and gain >= LEAST_BITS
    return Tried(hypothesis, float(other[both].mean()), float(own[both].mean()), gain, margin, p, len(wider), clear)
