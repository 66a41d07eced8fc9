"""The refit of CEM to scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planners import A, H, K, S, candidates_and_scores, distance_to, make, noise_scores, seeds
from worldforge_jepa_client.planning import CEM, plan
from worldforge_jepa_client.planning.methods import elite_moments


def test_cem_defaults_are_the_published_ones():
    planner = CEM(horizon=6, action_dim=10, rng=0)
    assert (planner.samples, planner.elites, planner.momentum) == (300, 10, 0)
    assert (planner.std == 1).all()


def test_elite_moments_are_the_mean_and_the_unbiased_std_computed_by_hand():
    candidates = np.array([1, 4, 100, 7, -50], dtype=np.float32).reshape(5, 1, 1)
    mean, std = elite_moments(candidates, np.array([0.3, 0.1, 9.0, 0.2, 8.0]), elites=3)
    assert mean.item() == 4
    assert std.item() == 3  # sqrt((3**2 + 0 + 3**2) / (3 - 1))


@given(seed=seeds)
def test_cem_becomes_the_moments_of_its_elites(seed):
    planner = make(rng=seed, elites=K)
    candidates, scores = planner.ask()[0], noise_scores(seed)(np.empty((1, S)))
    planner.tell(scores)
    elites = candidates[np.argsort(scores)[:K]].astype(np.float64)
    mean = elites.sum(axis=0) / K
    np.testing.assert_allclose(planner.mean, mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(planner.std, np.sqrt(((elites - mean) ** 2).sum(axis=0) / (K - 1)), rtol=1e-6)
    assert planner.spread == pytest.approx(planner.std.mean())


@given(seed=seeds)
def test_permuting_candidates_with_their_scores_changes_nothing(seed):
    candidates, scores = candidates_and_scores(seed)
    order = np.random.default_rng(seed).permutation(S)
    for moment, permuted in zip(
        elite_moments(candidates, scores, K), elite_moments(candidates[order], scores[order], K), strict=True
    ):
        np.testing.assert_array_equal(moment, permuted)


@given(
    seed=seeds,
    transform=st.sampled_from([np.exp, np.cbrt, lambda x: 1e6 * x - 3, lambda x: x**3 + x, np.arctan]),
)
def test_cem_sees_only_the_order_of_the_scores(seed, transform):
    scores = np.random.default_rng(seed).permutation(S) / S
    plain, transformed = make(rng=seed), make(rng=seed)
    for planner, told in ((plain, scores), (transformed, transform(scores))):
        planner.ask()
        planner.tell(told)
    np.testing.assert_array_equal(plain.mean, transformed.mean)
    np.testing.assert_array_equal(plain.std, transformed.std)
    np.testing.assert_array_equal(plain.best_actions, transformed.best_actions)


def test_momentum_keeps_its_share_of_the_previous_mean_and_std():
    start = {"initial_mean": np.full((H, A), 2.0), "initial_std": 0.5}
    fresh, heavy = make(**start), make(**start, momentum=0.25)
    for planner in (fresh, heavy):
        plan(planner, distance_to(0), 1)
    np.testing.assert_allclose(heavy.mean, 0.25 * 2.0 + 0.75 * fresh.mean, rtol=1e-6)
    np.testing.assert_allclose(heavy.std, 0.25 * 0.5 + 0.75 * fresh.std, rtol=1e-6)


def test_the_std_never_falls_below_its_floor():
    planner = make(initial_std=0.1, min_std=[0.05, 0.2])
    np.testing.assert_array_equal(planner.std, np.float32([[0.1, 0.2]] * H))
    plan(planner, distance_to(0), 20)
    np.testing.assert_array_equal(planner.std, np.float32([[0.05, 0.2]] * H))


def test_cem_converges_on_a_quadratic():
    target = np.random.default_rng(1).standard_normal((6, 2))
    planner = CEM(horizon=6, action_dim=2, rng=0)
    found = plan(planner, distance_to(target), 30)
    np.testing.assert_allclose(found, target, atol=0.05)
    assert planner.spread < 0.01


def test_cem_runs_a_linear_score_into_the_corner_of_its_bounds():
    slope = np.array([1, -2])
    found = plan(make(low=-1, high=1), lambda candidates: (candidates[0] * slope).sum(axis=(1, 2)), 30)
    np.testing.assert_allclose(found, [[-1, 1]] * H, atol=1e-5)


def test_cem_settles_in_the_deeper_of_two_wells():
    def wells(candidates):
        deep, shallow = distance_to(1.5)(candidates), distance_to(-1.5)(candidates)
        return np.minimum(deep, shallow + 1)

    planner = CEM(horizon=1, action_dim=1, rng=0)
    np.testing.assert_allclose(plan(planner, wells, 20), 1.5, atol=0.01)
