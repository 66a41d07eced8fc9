"""Small planners for the tests, and scores for their candidates."""

import numpy as np
from hypothesis import strategies as st

from worldforge_jepa_client.planning import CEM, ICEM, MPPI

S, H, A, K = 64, 3, 2, 8

PLANNERS = [CEM, ICEM, MPPI]
seeds = st.integers(0, 2**32 - 1)


def make(kind=CEM, **options):
    return kind(**{"horizon": H, "action_dim": A, "rng": 0, "samples": S, **options})


def distance_to(target):
    """The squared distance of each candidate to a target [H, A], wherever the candidates are."""
    return lambda candidates: ((candidates[0] - target) ** 2).sum(2).sum(1)


def noise_scores(seed):
    """Scores that say nothing: they drive a planner anywhere its candidates go."""
    rng = np.random.default_rng(seed)
    return lambda candidates: rng.standard_normal(candidates.shape[1])


def candidates_and_scores(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((S, H, A), dtype=np.float32), rng.standard_normal(S)


def trace(planner, score, iterations=4):
    """The candidates [S, H, A] of each iteration."""
    asked = []
    for _ in range(iterations):
        candidates = planner.ask()
        asked.append(candidates[0])
        planner.tell(score(candidates))
    return asked


def means_kept_and_overwritten(make_one):
    """The means of two equal planners after a tell, the candidates of the second overwritten before it."""
    means = []
    for overwrite in (False, True):
        planner = make_one()
        candidates = planner.ask()
        scores = distance_to(1)(candidates)
        if overwrite:
            candidates[:] = np.nan
        planner.tell(scores)
        means.append(planner.mean)
    return means
