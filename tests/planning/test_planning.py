"""The laws that all planners share: candidates, their distribution, and the best one kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planners import (
    PLANNERS,
    A,
    H,
    S,
    distance_to,
    make,
    means_kept_and_overwritten,
    noise_scores,
    seeds,
    trace,
)
from worldforge_jepa_client.planning import MPPI, plan

# What a planner asks


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize("told", [0, 2])
def test_candidates_are_one_contiguous_float32_batch(kind, told):
    planner = make(kind, low=[-1, -np.inf], high=1, initial_mean=np.ones((H, A)), prior_fraction=0.5)
    for _ in range(told):
        planner.tell(noise_scores(0)(planner.ask()))
    candidates = planner.ask()
    assert candidates.shape == (1, S, H, A)
    assert candidates.dtype == np.float32
    assert candidates.flags.c_contiguous
    assert candidates.flags.owndata


@pytest.mark.parametrize("kind", PLANNERS)
def test_state_is_float32_and_starts_at_the_prior(kind):
    planner = make(kind, initial_std=[0.5, 2])
    for state in (planner.mean, planner.std, planner.best_actions):
        assert state.shape == (H, A)
        assert state.dtype == np.float32
    assert not planner.mean.any()
    np.testing.assert_array_equal(planner.std, [[0.5, 2]] * H)
    assert planner.spread == 1.25
    assert planner.best_score == np.inf
    assert planner.iterations == 0


@pytest.mark.parametrize("kind", PLANNERS)
def test_state_stays_float32_after_a_tell(kind):
    planner = make(kind, refit_std=True) if kind is MPPI else make(kind, momentum=0.3)
    plan(planner, noise_scores(0), 2)
    for state in (planner.mean, planner.std, planner.best_actions):
        assert (state.shape, state.dtype) == ((H, A), np.float32)
    assert planner.iterations == 2
    assert isinstance(planner.best_score, float)


@pytest.mark.parametrize("kind", PLANNERS)
@given(seed=seeds)
def test_candidate_zero_is_the_mean_bitwise(kind, seed):
    planner = make(kind, rng=seed, low=-0.1, high=[0.3, np.inf], prior_fraction=1.0)
    for _ in range(3):
        candidates = planner.ask()
        assert candidates[0, 0].tobytes() == planner.mean.tobytes()
        planner.tell(noise_scores(seed)(candidates))


def test_candidates_spread_as_the_std_says():
    candidates = make(samples=20_000, initial_mean=np.full((H, A), 3.0), initial_std=[0.1, 2]).ask()[0]
    np.testing.assert_allclose(candidates.mean(axis=0), 3, atol=0.1)
    np.testing.assert_allclose(candidates.std(axis=0), [[0.1, 2]] * H, rtol=0.05)


def test_a_zero_std_freezes_its_dimension():
    candidates = make(initial_std=[0, 1]).ask()[0]
    assert not candidates[..., 0].any()
    assert (candidates[1:, :, 1] != 0).all()


@pytest.mark.parametrize("kind", PLANNERS)
@given(
    seed=seeds,
    bounds=st.lists(st.tuples(st.floats(-2, 2, width=32), st.floats(0, 2, width=32)), min_size=A, max_size=A),
    mean=st.floats(-5, 5),
    momentum=st.floats(0, 0.9),
)
def test_candidates_and_plan_never_leave_the_bounds(kind, seed, bounds, mean, momentum):
    low = np.array([start for start, _ in bounds], dtype=np.float32)
    high = low + np.array([width for _, width in bounds], dtype=np.float32)
    extra = {"refit_std": True, "temperature": 0.1} if kind is MPPI else {"momentum": momentum}
    planner = make(
        kind,
        rng=seed,
        low=low,
        high=high,
        initial_mean=np.full((H, A), mean),
        initial_std=3,
        prior_fraction=0.5,
        keep_best=True,
        **extra,
    )
    asked = np.array(trace(planner, noise_scores(seed)))
    for actions in (asked, planner.mean, planner.best_actions):
        assert (actions >= low).all()
        assert (actions <= high).all()


def test_an_infinite_bound_leaves_its_dimension_unclipped():
    free, clipped = (make(low=low, high=high).ask() for low, high in [(-np.inf, np.inf), ([-0.1, -np.inf], [0.1, 9])])
    assert np.abs(free[..., 0]).max() > 0.1
    np.testing.assert_array_equal(clipped[..., 0], free[..., 0].clip(-0.1, 0.1))
    np.testing.assert_array_equal(clipped[..., 1], free[..., 1])


@pytest.mark.parametrize("kind", PLANNERS)
def test_the_caller_may_overwrite_what_was_asked(kind):
    np.testing.assert_array_equal(*means_kept_and_overwritten(lambda: make(kind)))


# Randomness is the rng's, and only the rng's


@pytest.mark.parametrize("kind", PLANNERS)
def test_the_same_seed_asks_the_same_and_another_seed_something_else(kind):
    first, again, other = (np.array(trace(make(kind, rng=rng), distance_to(1))) for rng in (7, 7, 8))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)


def test_a_generator_is_drawn_on_from_where_it_stands():
    rng = np.random.default_rng(7)
    first, second = make(rng=rng).ask(), make(rng=rng).ask()
    np.testing.assert_array_equal(first, make(rng=7).ask())
    assert not np.array_equal(first, second)


def test_numpys_global_state_is_neither_read_nor_moved():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = trace(make(), distance_to(1))
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(1)
    np.testing.assert_array_equal(trace(make(), distance_to(1)), first)


def test_asking_again_draws_anew_and_the_scores_belong_to_the_last_draw():
    planner = make()
    dropped, candidates = planner.ask(), planner.ask()
    assert not np.array_equal(dropped, candidates)
    planner.tell(np.arange(S)[::-1])
    np.testing.assert_array_equal(planner.best_actions, candidates[0, -1])


# Warm start


@pytest.mark.parametrize("kind", PLANNERS)
def test_a_warm_start_centres_the_first_candidates_on_the_given_plan(kind):
    warm = np.arange(H * A, dtype=np.float32).reshape(H, A)
    cold_start, warm_start = make(kind).ask(), make(kind, initial_mean=warm).ask()
    np.testing.assert_array_equal(warm_start[0, 0], warm)
    np.testing.assert_allclose(warm_start - warm, cold_start, atol=1e-6)


def test_a_share_of_the_first_candidates_is_drawn_from_the_prior_and_none_later():
    planner = make(initial_mean=np.full((H, A), 100.0), prior_fraction=0.25)
    first = planner.ask()[0]
    assert (np.abs(first - 100) < 50).all(axis=(1, 2)).sum() == 3 * S // 4
    assert (np.abs(first[-S // 4 :]) < 50).all()

    planner.tell(distance_to(100)(first[None]))
    assert (np.abs(planner.ask() - 100) < 50).all()


def test_a_warm_started_planner_does_not_lose_the_plan_it_was_given():
    target = np.full((H, A), 5.0)
    planner = make(initial_mean=target, prior_fraction=1.0)
    plan(planner, distance_to(target), 1)
    assert planner.best_score == 0
    np.testing.assert_array_equal(planner.best_actions, target)


def test_the_given_mean_is_copied():
    given_mean = np.zeros((H, A), dtype=np.float32)
    planner = make(initial_mean=given_mean)
    given_mean[:] = 9
    assert not planner.mean.any()


# The best candidate


@pytest.mark.parametrize("kind", PLANNERS)
@given(seed=seeds)
def test_best_is_the_lowest_score_ever_told(kind, seed):
    planner, score = make(kind, rng=seed), noise_scores(seed)
    asked, told = [], []
    for _ in range(4):
        asked.append(planner.ask()[0])
        told.append(score(asked[-1][None]))
        planner.tell(told[-1])
    lowest = int(np.argmin(told))
    assert planner.best_score == np.min(told)
    np.testing.assert_array_equal(planner.best_actions, np.concatenate(asked)[lowest])


@pytest.mark.parametrize("kind", PLANNERS)
@given(seed=seeds)
def test_with_keep_best_no_iteration_is_worse_than_the_one_before(kind, seed):
    planner = make(kind, rng=seed, initial_std=3, keep_best=True)
    lowest = [distance_to(1)(asked[None]).min() for asked in trace(planner, distance_to(1), 6)]
    assert (np.diff(lowest) <= 0).all()


def test_the_kept_best_is_candidate_one_from_the_second_iteration_on():
    planner = make(keep_best=True)
    first = planner.ask()
    np.testing.assert_array_equal(first, make(keep_best=False).ask())
    planner.tell(distance_to(1)(first))
    np.testing.assert_array_equal(planner.ask()[0, 1], planner.best_actions)
