import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldforge_jepa_client.planning import CEM, ICEM, MPPI, elite_moments, path_integral_weights, plan, shift_plan

S, H, A, K = 64, 3, 2, 8

PLANNERS = [CEM, ICEM, MPPI]
seeds = st.integers(0, 2**32 - 1)


def make(kind=CEM, **options):
    return kind(**{"horizon": H, "action_dim": A, "rng": 0, "samples": S, **options})


def candidates_and_scores(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((S, H, A), dtype=np.float32), rng.standard_normal(S)


def distance_to(target):
    """The squared distance of each candidate to a target [H, A]."""
    return lambda candidates: ((candidates[0] - target) ** 2).sum(axis=(1, 2))


def noise_scores(seed):
    """Scores that say nothing: they drive a planner anywhere its candidates go."""
    rng = np.random.default_rng(seed)
    return lambda candidates: rng.standard_normal(candidates.shape[1])


def trace(planner, score, iterations=4):
    """Every candidate the planner asks to score: [iterations, S, H, A]."""
    asked = []
    for _ in range(iterations):
        asked.append(planner.ask())
        planner.tell(score(asked[-1]))
    return np.concatenate(asked)


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
    asked = trace(planner, noise_scores(seed))
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
    plans = []
    for overwrite in (False, True):
        planner = make(kind)
        candidates = planner.ask()
        scores = distance_to(1)(candidates)
        if overwrite:
            candidates[:] = np.nan
        planner.tell(scores)
        plans.append(planner.mean)
    np.testing.assert_array_equal(*plans)


# Randomness is the rng's, and only the rng's


@pytest.mark.parametrize("kind", PLANNERS)
def test_the_same_seed_asks_the_same_and_another_seed_something_else(kind):
    first, again, other = (trace(make(kind, rng=rng), distance_to(1)) for rng in (7, 7, 8))
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


# CEM


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


# MPPI


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


# Telling


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(S - 1), r"^scores: got shape \(63,\), expected shape \(64,\)$"),
        (np.zeros((1, S)), r"^scores: got shape \(1, 64\), expected shape \(64,\)$"),
        (0.0, r"^scores: got shape \(\), expected shape \(64,\)$"),
        (
            [0.0] * 5 + [np.nan] + [0.0] * (S - 6),
            r"^scores: got nan for candidate 5, expected finite numbers$",
        ),
        ([0.0] * (S - 1) + [-np.inf], r"^scores: got -inf for candidate 63, expected finite numbers$"),
    ],
)
def test_wrong_scores_are_named_and_change_nothing(kind, scores, message):
    planner, untouched = make(kind, keep_best=True), make(kind, keep_best=True)
    right = distance_to(1)(planner.ask())
    with pytest.raises(ValueError, match=message):
        planner.tell(scores)
    planner.tell(right)

    untouched.tell(distance_to(1)(untouched.ask()))
    np.testing.assert_array_equal(planner.ask(), untouched.ask())
    assert planner.best_score == untouched.best_score


@pytest.mark.parametrize("kind", PLANNERS)
def test_scores_come_only_after_candidates(kind):
    planner = make(kind)
    message = r"^scores: got shape \(64,\), expected none before candidates are asked for$"
    with pytest.raises(ValueError, match=message):
        planner.tell(np.zeros(S))
    planner.ask()
    planner.tell(np.zeros(S))
    with pytest.raises(ValueError, match=message):
        planner.tell(np.zeros(S))


def test_scores_may_be_any_sequence_of_numbers():
    first, second = make(), make()
    first.ask(), second.ask()
    first.tell(list(range(S)))
    second.tell(np.arange(S, dtype=np.float32))
    np.testing.assert_array_equal(first.mean, second.mean)


# Arguments


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (CEM, {"horizon": 0}, "horizon: got 0, expected at least 1"),
        (CEM, {"action_dim": 0}, "action_dim: got 0, expected at least 1"),
        (CEM, {"samples": 1}, "samples: got 1, expected at least 2"),
        (CEM, {"prior_fraction": 1.5}, r"prior_fraction: got 1.5, expected a share from 0 to 1"),
        (CEM, {"low": [0, 0, 0]}, r"low: got shape \(3,\), expected a scalar or \[A\] = \(2,\)"),
        (CEM, {"high": np.nan}, "high: got nan, expected numbers"),
        (CEM, {"low": [2, 0], "high": 1}, r"low: got \[2, 0\], expected at most high, which is 1"),
        (CEM, {"low": np.inf}, "low: got inf, expected finite or -inf"),
        (CEM, {"high": -np.inf}, "high: got -inf, expected finite or inf"),
        (CEM, {"initial_std": -1}, "initial_std: got -1, expected finite and not negative"),
        (CEM, {"min_std": np.inf}, "min_std: got inf, expected finite and not negative"),
        (
            CEM,
            {"initial_mean": np.zeros((A, H))},
            r"initial_mean: got shape \(2, 3\), expected \[H, A\] = \(3, 2\)",
        ),
        (
            CEM,
            {"initial_mean": np.full((H, A), np.nan)},
            "initial_mean: got .*nan.*, expected finite numbers",
        ),
        (CEM, {"elites": 1}, "elites: got 1, expected 2 to samples = 64"),
        (CEM, {"elites": S + 1}, "elites: got 65, expected 2 to samples = 64"),
        (ICEM, {"noise_beta": -1}, "noise_beta: got -1, expected finite and not negative"),
        (ICEM, {"keep_elites": 2}, "keep_elites: got 2, expected a share from 0 to 1"),
        (ICEM, {"decay": 0.8}, "decay: got 0.8, expected finite and at least 1"),
        (CEM, {"momentum": 1}, r"momentum: got 1, expected a share in \[0, 1\)"),
        (MPPI, {"temperature": 0}, "temperature: got 0, expected finite and above 0"),
        (MPPI, {"temperature": np.nan}, "temperature: got nan, expected finite and above 0"),
        (MPPI, {"elites": 0}, "elites: got 0, expected 1 to samples = 64"),
    ],
)
def test_a_bad_argument_is_named_with_what_came_and_what_was_expected(kind, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(kind, **options)


# The loop, and the next warm start


def test_plan_asks_scores_and_tells_and_returns_the_mean():
    looped, by_hand, seen = make(), make(), []

    def score(candidates):
        seen.append(candidates)
        return distance_to(1)(candidates)

    found = plan(looped, score, 3)
    np.testing.assert_array_equal(np.concatenate(seen), trace(by_hand, distance_to(1), 3))
    np.testing.assert_array_equal(found, by_hand.mean)
    assert looped.iterations == 3


def test_plan_needs_an_iteration():
    with pytest.raises(ValueError, match=r"^iterations: got 0, expected at least 1$"):
        plan(make(), distance_to(1), 0)


@pytest.mark.parametrize(
    ("steps", "options", "expected"),
    [
        (0, {}, [1, 2, 3]),
        (1, {}, [2, 3, 0]),
        (1, {"pad": "last"}, [2, 3, 3]),
        (3, {}, [0, 0, 0]),
        (3, {"pad": "last"}, [3, 3, 3]),
        (1, {"horizon": 1}, [2]),
        (2, {"horizon": 4}, [3, 0, 0, 0]),
        (2, {"horizon": 4, "pad": "last"}, [3, 3, 3, 3]),
    ],
)
def test_shift_plan_drops_what_was_executed_and_fills_the_horizon(steps, options, expected):
    shifted = shift_plan(np.array([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0]]), steps, **options)
    np.testing.assert_array_equal(shifted, [[step, -step] for step in expected])
    assert shifted.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(3), 1), r"plan: got shape \(3,\), expected \[H, A\] with H at least 1"),
        ((np.zeros((0, 2)), 0), r"plan: got shape \(0, 2\), expected \[H, A\] with H at least 1"),
        ((np.zeros((H, A)), H + 1), "steps: got 4, expected 0 to H = 3"),
        ((np.zeros((H, A)), -1), "steps: got -1, expected 0 to H = 3"),
        ((np.zeros((H, A)), 1, 0), "horizon: got 0, expected at least 1"),
        ((np.zeros((H, A)), 1, H, "mean"), "pad: got 'mean', expected 'zero' or 'last'"),
    ],
)
def test_shift_plan_names_a_bad_argument(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        shift_plan(*arguments)
