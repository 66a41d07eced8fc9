"""The loop of asking and telling, and the warm start of the next one."""

import numpy as np
import pytest

from tests.support.planners import A, H, distance_to, make, trace
from worldforge_jepa_client.planning import plan, shift_plan


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
