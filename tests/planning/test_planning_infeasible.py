"""Planners and candidates that are never to be chosen: their score is inf."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planners import PLANNERS, A, H, K, S, distance_to, make, seeds
from worldforge_jepa_client.planning import ICEM


def told(kind, scores, **options):
    """A planner after one iteration, and the candidates that it asked for."""
    planner = make(kind, **options)
    candidates = planner.ask()[0]
    planner.tell(scores)
    return planner, candidates


@pytest.mark.parametrize("kind", PLANNERS)
def test_no_refit_uses_an_infeasible_candidate(kind):
    scores = np.full(S, np.inf)
    scores[[3, 5]] = 1.0
    planner, candidates = told(kind, scores)
    share = getattr(planner, "momentum", 0.0)
    np.testing.assert_allclose(planner.mean, (1 - share) * candidates[[3, 5]].mean(0), atol=1e-6)
    assert planner.best_score == 1.0


@pytest.mark.parametrize("kind", PLANNERS)
def test_one_feasible_candidate_leaves_the_deviation(kind):
    scores = np.full(S, np.inf)
    scores[3] = 1.0
    planner, _ = told(kind, scores)
    np.testing.assert_allclose(planner.std, np.ones((H, A)), atol=1e-6)


@pytest.mark.parametrize("kind", PLANNERS)
def test_without_a_feasible_candidate_the_distribution_stays(kind):
    planner, _ = told(kind, np.full(S, np.inf))
    assert (planner.mean == 0).all()
    assert (planner.std == 1).all()
    assert (planner.iterations, planner.best_score) == (1, np.inf)
    planner.tell(np.zeros(planner.ask().shape[1]))
    assert planner.best_score == 0


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
        planner = make(kind, elites=K)
        candidates = planner.ask()
        scores = distance_to(1)(candidates)
        scores[np.argsort(scores)[K:]] = worst
        planner.tell(scores)
        means.append(planner.mean)
    assert np.array_equal(*means)


def test_an_infeasible_elite_is_not_kept_for_the_next_iteration():
    planner = make(ICEM, keep_elites=1.0)
    first = planner.ask()[0]
    scores = np.full(S, np.inf)
    scores[5] = 1.0
    planner.tell(scores)
    again = planner.ask()[0]
    assert np.array_equal(again[1], first[5])
    assert not any(np.array_equal(again[2], each) for each in first)
