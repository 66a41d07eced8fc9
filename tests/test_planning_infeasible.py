"""Candidates that a model calls infeasible, +inf: they rank last, and never make a planner's mean NaN."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planners import PLANNERS, K, S, distance_to, make, seeds
from worldforge_jepa_client.planning import ICEM


@pytest.mark.parametrize("kind", PLANNERS)
@given(seed=seeds, feasible=st.integers(0, S))
def test_mean_and_std_stay_finite_however_many_are_infeasible(kind, seed, feasible):
    planner = make(kind)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        scores = rng.standard_normal(S)
        scores[rng.permutation(S)[feasible:]] = np.inf
        planner.ask()
        planner.tell(scores)
        assert np.isfinite(planner.mean).all()
        assert np.isfinite(planner.std).all()


@pytest.mark.parametrize("kind", PLANNERS)
def test_an_infeasible_candidate_weighs_nothing_where_enough_are_feasible(kind):
    means = []
    for worst in (1e30, np.inf):
        planner = make(kind)
        candidates = planner.ask()
        scores = distance_to(1)(candidates)
        scores[np.argsort(scores)[K:]] = worst
        planner.tell(scores)
        means.append(planner.mean)
    assert np.array_equal(*means)


@pytest.mark.parametrize("kind", PLANNERS)
def test_where_none_is_feasible_the_distribution_stays(kind):
    planner = make(kind)
    mean, std = planner.mean.copy(), planner.std.copy()
    planner.ask()
    planner.tell(np.full(S, np.inf))
    assert np.array_equal(planner.mean, mean)
    assert np.array_equal(planner.std, std)
    assert planner.best_score == np.inf
    assert planner.iterations == 1


def test_an_infeasible_elite_is_not_kept_for_the_next_iteration():
    planner = make(ICEM, keep_elites=1.0)
    first = planner.ask()[0]
    scores = np.full(S, np.inf)
    scores[5] = 1.0
    planner.tell(scores)
    again = planner.ask()[0]
    assert np.array_equal(again[1], first[5])
    assert not any(np.array_equal(again[2], each) for each in first)
