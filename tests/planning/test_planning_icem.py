"""The additions of iCEM to CEM; the laws that all planners share are in test_planning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import planners
from tests.support.planners import A, S, distance_to, seeds, trace
from worldforge_jepa_client.planning import CEM, ICEM, plan
from worldforge_jepa_client.planning.methods import noise_filter

H, K = 6, 10
LONG = 20  # a horizon with room for slow and fast noise

betas = st.floats(0, 6)
horizons = st.integers(1, 30)


def make(kind=ICEM, **options):
    return planners.make(kind, **{"horizon": H, **options})


# The noise


@given(horizon=horizons, beta=betas)
def test_noise_has_variance_one_at_every_step(horizon, beta):
    colour = noise_filter(horizon, beta)
    np.testing.assert_allclose(np.diag(colour @ colour.T), 1)


@given(horizon=st.integers(2, 30), beta=betas)
def test_the_power_at_a_frequency_is_that_frequency_to_the_minus_beta(horizon, beta):
    power = np.abs(np.fft.rfft(noise_filter(horizon, beta)[0])) ** 2
    frequencies = np.fft.rfftfreq(horizon)[1:]
    np.testing.assert_allclose(power[1:] / power[1], (frequencies / frequencies[0]) ** -beta, atol=1e-9)
    assert power[0] == pytest.approx(power[1])


@given(horizon=horizons)
def test_beta_zero_is_white(horizon):
    np.testing.assert_allclose(noise_filter(horizon, 0), np.eye(horizon), atol=1e-12)


@given(horizon=st.integers(4, 30), beta=betas, more=st.floats(0.1, 2))
def test_a_larger_beta_makes_neighbouring_actions_more_alike(horizon, beta, more):
    def neighbours(beta):
        colour = noise_filter(horizon, beta)
        return colour[0] @ colour[1]

    assert neighbours(beta + more) > neighbours(beta)


@pytest.mark.parametrize("beta", [0, 0.5, 2, 4])
def test_the_candidates_are_drawn_with_that_noise(beta):
    planner = make(samples=20_000, horizon=LONG, noise_beta=beta, initial_std=[0.5, 2], initial_mean=np.ones((LONG, A)))
    noise = (planner.ask()[0] - 1) / [0.5, 2]
    colour = noise_filter(LONG, beta)
    for dim in range(A):
        np.testing.assert_allclose(np.cov(noise[..., dim].T), colour @ colour.T, atol=0.05)
    between_dims, between_samples = noise[..., 0] * noise[..., 1], noise[1:] * noise[:-1]
    np.testing.assert_allclose(between_dims.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(between_samples.mean(axis=0), 0, atol=0.05)


# The elites


def test_the_best_elites_are_asked_again_behind_the_mean():
    planner = make(elites=K, keep_elites=0.3)
    first = planner.ask()[0]
    scores = distance_to(1)(first[None])
    planner.tell(scores)
    second = planner.ask()[0]
    np.testing.assert_array_equal(second[0], planner.mean)
    np.testing.assert_array_equal(second[1:4], first[np.argsort(scores)[:3]])
    assert not (second[4:, None] == first).all(axis=(2, 3)).any()


def test_zero_elite_share_keeps_no_elite():
    first, second = trace(make(keep_elites=0), distance_to(1), 2)
    assert not (second[:, None] == first[1:]).all(axis=(2, 3)).any()


def test_the_best_candidate_is_never_lost():
    lowest = [distance_to(1)(asked[None]).min() for asked in trace(make(initial_std=3), distance_to(1), 6)]
    assert (np.diff(lowest) <= 0).all()


def test_elites_may_fill_all_places_but_the_mean():
    planner = make(samples=8, elites=8, keep_elites=1)
    first, second = trace(planner, distance_to(1), 2)
    best_first = first[np.argsort(distance_to(1)(first[None]))]
    np.testing.assert_array_equal(second[1:], best_first[:7])


# The number of samples


def test_decay_asks_for_fewer_samples_down_to_twice_the_elites():
    planner = make(samples=100, elites=K, decay=1.25)
    assert [len(asked) for asked in trace(planner, distance_to(1), 9)] == [100, 80, 64, 51, 40, 32, 26, 20, 20]


def test_without_decay_every_iteration_asks_for_all_samples():
    assert [len(asked) for asked in trace(make(), distance_to(1), 9)] == [S] * 9


def test_the_floor_of_decay_is_no_more_than_the_samples():
    assert [len(asked) for asked in trace(make(samples=15, elites=K, decay=1.25), distance_to(1), 3)] == [15] * 3


def test_as_many_scores_are_expected_as_candidates_were_asked():
    planner = make(samples=100, decay=1.25)
    plan(planner, distance_to(1), 1)
    planner.ask()
    with pytest.raises(ValueError, match=r"^scores: got shape \(100,\), expected shape \(80,\)$"):
        planner.tell(np.zeros(100))
    planner.tell(np.zeros(80))


# The whole


def test_defaults():
    planner = ICEM(horizon=6, action_dim=10, rng=0)
    assert (planner.samples, planner.elites, planner.momentum) == (300, 10, 0.1)
    assert (planner.noise_beta, planner.keep_elites, planner.decay) == (2, 0.3, 1)


@given(seed=seeds)
def test_without_what_it_adds_icem_is_cem(seed):
    plain = {"noise_beta": 0, "keep_elites": 0, "momentum": 0}
    for ours, theirs in zip(
        trace(make(**plain, rng=seed), distance_to(1)), trace(make(CEM, rng=seed), distance_to(1)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_smooth_plan_is_found_with_a_third_of_cems_samples(seed):
    phase = np.random.default_rng(seed).uniform(0, 2 * np.pi, A)
    target = np.sin(np.linspace(0, 2 * np.pi, LONG)[:, None] + phase)

    def left(kind, samples):
        found = plan(make(kind, horizon=LONG, rng=seed, samples=samples), distance_to(target), 5)
        return distance_to(target)(found[None, None]).item()

    assert left(ICEM, 100) < 0.7 * left(CEM, 300)


def test_icem_converges_on_a_quadratic():
    target = np.sin(np.linspace(0, 2 * np.pi, LONG))[:, None]
    found = plan(ICEM(horizon=LONG, action_dim=1, rng=0), distance_to(target), 30)
    np.testing.assert_allclose(found, target, atol=0.15)
    assert ((found - target) ** 2).sum() < 0.01 * (target**2).sum()
