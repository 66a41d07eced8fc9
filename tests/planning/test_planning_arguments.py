"""Scores and arguments that planners refuse, each by its name."""

import numpy as np
import pytest

from tests.support.planners import PLANNERS, A, H, S, distance_to, make
from worldforge_jepa_client.planning import CEM, ICEM, MPPI

# Scores


@pytest.mark.parametrize("kind", PLANNERS)
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(S - 1), r"^scores: got shape \(63,\), expected shape \(64,\)$"),
        (np.zeros((1, S)), r"^scores: got shape \(1, 64\), expected shape \(64,\)$"),
        (0.0, r"^scores: got shape \(\), expected shape \(64,\)$"),
        (
            [0.0] * 5 + [np.nan] + [0.0] * (S - 6),
            r"^scores: got nan for candidate 5, expected finite numbers, or inf for never$",
        ),
        (
            [0.0] * (S - 1) + [-np.inf],
            r"^scores: got -inf for candidate 63, expected finite numbers, or inf for never$",
        ),
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
