"""Planners and candidates that are never to be chosen: their score is inf."""

import numpy as np
import pytest

from tests.planners import PLANNERS, A, H, S, make


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
