"""The refit of MPPI to scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planners import A, H, K, candidates_and_scores, distance_to, make, seeds
from worldforge_jepa_client.planning import MPPI, plan
from worldforge_jepa_client.planning.methods import path_integral_weights


@given(seed=seeds, shift=st.floats(-100, 100), temperature=st.floats(0.1, 10))
def test_adding_a_constant_to_all_scores_changes_no_weight(seed, shift, temperature):
    _, scores = candidates_and_scores(seed)
    weights = path_integral_weights(scores, temperature)
    np.testing.assert_allclose(path_integral_weights(scores + shift, temperature), weights, rtol=1e-9)
    assert weights.sum() == pytest.approx(1)


@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_temperature_is_in_units_of_the_score(seed, scale):
    _, scores = candidates_and_scores(seed)
    np.testing.assert_allclose(
        path_integral_weights(scale * scores, scale), path_integral_weights(scores, 1), rtol=1e-9
    )


def test_weights_are_a_boltzmann_distribution_computed_by_hand():
    weights = path_integral_weights(np.log([1.0, 2.0, 4.0]), temperature=1)
    np.testing.assert_allclose(weights, np.array([4, 2, 1]) / 7)


def test_extreme_scores_and_temperatures_stay_finite():
    weights = path_integral_weights(np.array([-1e308, 0, 1e308]), temperature=1e-300)
    np.testing.assert_array_equal(weights, [1, 0, 0])


def told_once(**options):
    """An MPPI planner after one tell of distinct scores, and its candidates and scores."""
    planner = make(MPPI, **options)
    candidates = planner.ask()[0]
    scores = distance_to(1)(candidates[None])
    planner.tell(scores)
    return planner, candidates, scores


def test_a_cold_mppi_takes_the_best_candidate():
    planner, candidates, scores = told_once(temperature=1e-6)
    np.testing.assert_array_equal(planner.mean, candidates[scores.argmin()])


def test_a_hot_mppi_takes_the_plain_mean():
    planner, candidates, _ = told_once(temperature=1e9)
    np.testing.assert_allclose(planner.mean, candidates.mean(axis=0), atol=1e-6)


def test_a_hot_mppi_with_elites_takes_their_plain_mean():
    planner, candidates, scores = told_once(temperature=1e9, elites=K)
    np.testing.assert_allclose(planner.mean, candidates[np.argsort(scores)[:K]].mean(axis=0), atol=1e-6)


def test_mppi_keeps_its_std_unless_told_to_refit_it():
    fixed, candidates, scores = told_once(initial_std=0.7)
    refitted, _, _ = told_once(initial_std=0.7, refit_std=True)
    np.testing.assert_array_equal(fixed.std, np.full((H, A), np.float32(0.7)))
    np.testing.assert_array_equal(refitted.mean, fixed.mean)
    weights = path_integral_weights(scores, 1)
    variance = np.einsum("s,sha->ha", weights, (candidates - refitted.mean) ** 2)
    np.testing.assert_allclose(refitted.std, np.sqrt(variance), rtol=1e-5)


def test_mppi_converges_on_a_quadratic():
    target = np.random.default_rng(1).standard_normal((6, 2))
    planner = MPPI(horizon=6, action_dim=2, rng=0, temperature=0.5, elites=64, refit_std=True, min_std=0.05)
    np.testing.assert_allclose(plan(planner, distance_to(target), 30), target, atol=0.05)
