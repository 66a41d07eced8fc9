# Made from tests/aio/test_plans.py by scripts/async_to_sync.py.
"""Plans from a real server: progress, result, deadlines, cancelling; and latents for planners of one's own."""

import time

import numpy as np
import pytest

from tests.support.in_process import DEADLINE
from tests.support.scenes import raw_candidates, scene
from tests.sync.support import running
from worldforge_jepa_client import PlanResult
from worldforge_jepa_client.errors import (
    CallCancelledError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
)
from worldforge_jepa_client.planning import PlannerOptions, make_planner, shift_plan

SHORT = {"horizon": 3, "samples": 24, "iterations": 5, "elites": 6}
ENDLESS = {"horizon": 2, "samples": 8, "iterations": 10_000, "elites": 4}
H, A = 3, 10


def assert_same_plan(plan, other):
    np.testing.assert_array_equal(plan.actions, other.actions)
    np.testing.assert_array_equal(plan.best_actions, other.best_actions)
    assert (plan.score, plan.iterations, plan.complete) == (other.score, other.iterations, other.complete)


def test_progress_comes_each_iteration_and_the_last_is_the_result(client):
    stream = client.plan(**scene(), **SHORT)
    progress = [item for item in stream]
    assert [item.iteration for item in progress] == [1, 2, 3, 4, 5]
    assert {item.iterations for item in progress} == {5}
    scores = [item.best_score for item in progress]
    assert scores == sorted(scores, reverse=True)
    last, plan = progress[-1], stream.result()
    assert stream.latest is last
    assert isinstance(plan, PlanResult)
    assert (plan.score, plan.iterations, plan.complete, plan.timing) == (last.best_score, 5, True, last.timing)
    np.testing.assert_array_equal(plan.actions, last.mean)
    np.testing.assert_array_equal(plan.best_actions, last.best_actions)
    assert plan.actions.shape == plan.best_actions.shape == (H, A)
    assert plan.actions.dtype == plan.best_actions.dtype == np.float32
    assert_same_plan(stream.result(), plan)


@pytest.mark.parametrize("method", ["cem", "icem", "mppi"])
def test_server_plan_equals_client_planner_over_a_session(client, method):
    told = {"low": -2.0, "high": [2.0] * A, "initial_std": 0.3, "prior_fraction": 0.1}
    told |= {"momentum": 0.1} if method != "mppi" else {"temperature": 0.01}
    how = {"objective": "l1", "proprio_weight": 0.3}
    planner = make_planner(method, PlannerOptions(**SHORT, **told), action_dim=A, rng=7)
    with client.session(**scene(), **how) as session:
        for _ in range(SHORT["iterations"]):
            planner.tell((session.score(planner.ask())).scores)
    plan = client.plan(**scene(), **how, method=method, seed=7, **SHORT, **told).result()
    np.testing.assert_array_equal(plan.actions, planner.mean)
    np.testing.assert_array_equal(plan.best_actions, planner.best_actions)
    assert plan.score == planner.best_score


@pytest.mark.parametrize("on_device", [False, True])
def test_seeds_reproduce_and_a_context_plans_as_its_scene_does(client, on_device):
    plan = client.plan(**scene(), **SHORT, seed=3, on_device=on_device).result()
    context = client.create_context(**scene())
    assert_same_plan(client.plan(context=context, **SHORT, seed=3, on_device=on_device).result(), plan)
    other = client.plan(context=context, **SHORT, seed=4, on_device=on_device).result()
    assert not np.array_equal(other.actions, plan.actions)


def test_a_plan_starts_from_the_last_one(client):
    first = client.plan(**scene(), **SHORT).result()
    start = shift_plan(first.actions, 1)
    narrow = {**SHORT, "iterations": 1, "initial_std": 0.0}
    again = client.plan(**scene(), **narrow, initial_mean=start).result()
    np.testing.assert_allclose(again.actions, start, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"temperature": 1.0}, InvalidArgumentError, "temperature"),
        ({"method": "mppi", "momentum": 0.1}, InvalidArgumentError, "momentum"),
        ({"method": "random"}, InvalidArgumentError, "method.*cem, icem, mppi"),
        ({"elites": 1}, InvalidArgumentError, "elites"),
        ({"elites": 99}, InvalidArgumentError, "elites"),
        ({"iterations": 0}, InvalidArgumentError, "iterations"),
        ({"horizon": 0}, InvalidArgumentError, "horizon"),
        ({"horizon": "6"}, InvalidArgumentError, "planner.horizon: is '6'; expected a whole number"),
        ({"temperature": "warm"}, InvalidArgumentError, "planner.temperature: is 'warm'; expected a number"),
        ({"low": "left"}, InvalidArgumentError, "planner.low: has dtype"),
        ({"keep_best": 1}, InvalidArgumentError, "planner.keep_best: is 1; expected true or false"),
        ({"on_device": "yes"}, InvalidArgumentError, "on_device: is 'yes'; expected true or false"),
        ({"seed": 1.5}, InvalidArgumentError, "seed: is 1.5; expected a whole number"),
        ({"method": ["cem"]}, InvalidArgumentError, "method: is .*; expected a string"),
        ({"model": 7}, InvalidArgumentError, "model: is 7; expected a string"),
        ({"low": 1.0, "high": 0.0}, InvalidArgumentError, "low"),
        ({"low": [0.0] * 3}, InvalidArgumentError, "low"),
        ({"initial_mean": np.zeros((H, A + 1))}, InvalidArgumentError, "initial_mean"),
        ({"seed": -1}, InvalidArgumentError, "seed"),
        ({"objective": "l7"}, InvalidArgumentError, "objective"),
        ({"goal": None}, InvalidArgumentError, "context.goal"),
        ({"horizon": 10**6}, OutOfRangeError, "planner.horizon"),
        ({"samples": 10**6}, OutOfRangeError, "planner.samples"),
        ({"model": "third"}, NotFoundError, "third"),
    ],
)
def test_an_unknown_planner_option_is_refused_before_sending(client, options, error, words):
    with pytest.raises(error, match=words):
        client.plan(**(scene() | SHORT | options)).result()


def test_an_invalid_context_is_refused_before_sending(client):
    with pytest.raises(InvalidArgumentError, match="context: is 7; expected a string"):
        client.plan(context=7)
    with pytest.raises(InvalidArgumentError, match="context: is 7; expected a string"):
        client.delete_context(context=7)


def test_scalars_of_numpy_are_numbers_and_no_model_is_the_default_one(client):
    numbers = {"seed": 3, "temperature": 0.5, "keep_best": True, "on_device": True, "proprio_weight": 0.5}
    scalars = {name: np.array(value)[()] for name, value in numbers.items()}
    short = {"horizon": 3, "samples": 24, "iterations": 2}
    short_scalars = {name: np.int64(value) for name, value in short.items()}
    plan = client.plan(**scene(), method="mppi", **short_scalars, **scalars, model=None).result()
    assert_same_plan(plan, client.plan(**scene(), method="mppi", **short, **numbers).result())


def test_the_server_checks_a_plan_in_a_context(client):
    context = client.create_context(**scene())
    with pytest.raises(InvalidArgumentError, match="temperature"):
        client.plan(context=context, **SHORT, temperature=1.0).result()
    with pytest.raises(InvalidArgumentError, match="horizon: is 9223372036854775808; expected"):
        client.plan(context=context, horizon=2**63)  # more than the message holds
    with pytest.raises(NotFoundError) as caught:
        client.plan(context="unknown", **SHORT).result()
    assert caught.value.reason == "CONTEXT_NOT_FOUND"


def test_a_plan_at_its_deadline_returns_the_best_so_far(client):
    began = time.monotonic()
    stream = client.plan(**scene(), **ENDLESS, timeout=3.0)
    progress = [item for item in stream]
    assert time.monotonic() - began < 10
    plan = stream.result()
    assert not plan.complete
    assert plan.iterations == progress[-1].iteration == len(progress) > 1
    np.testing.assert_array_equal(plan.actions, progress[-1].mean)


def test_a_cancelled_plan_returns_the_best_so_far(client):
    stream = client.plan(**scene(), **ENDLESS, timeout=DEADLINE)
    for progress in stream:
        if progress.iteration == 3:
            stream.cancel()
    plan = stream.result()
    assert (plan.iterations, plan.complete) == (3, False)
    stream = client.plan(**scene(), **ENDLESS, timeout=DEADLINE)
    next(stream)
    with running(stream.result) as outcome:
        stream.cancel()
        assert (outcome()).iterations >= 1


def test_before_the_first_iteration_there_is_no_plan(client):
    heavy = ENDLESS | {"samples": 4000, "horizon": 32}
    with pytest.raises(DeadlineExceededError):
        client.plan(**scene(), **heavy, timeout=0.2).result()
    stream = client.plan(**scene(), **heavy, timeout=DEADLINE)
    stream.cancel()
    for _ in range(2):
        with pytest.raises(CallCancelledError):
            stream.result()


# Latents


def test_latents_come_in_the_dtype_asked_for(client):
    observation = scene()["observation"]
    exact = client.encode(observation=observation)
    assert exact.visual.ndim == 4
    assert exact.visual.shape[:2] == (1, 1)
    assert exact.proprio is not None
    for dtype, tolerance in (("float16", 1e-2), ("bfloat16", 1e-1)):
        np.testing.assert_allclose(
            (client.encode(observation=observation, dtype=dtype)).visual, exact.visual, atol=tolerance
        )
    with pytest.raises(InvalidArgumentError, match="float32, float16, bfloat16"):
        client.encode(observation=observation, dtype="int32")
    with pytest.raises(InvalidArgumentError, match=r"observation\.visual"):
        client.encode(observation=np.zeros((4, 8, 8), np.uint8))


def test_unroll_streams_every_step_or_the_selected_ones(client):
    observation = scene()["observation"]
    actions = raw_candidates(samples=5, horizon=3)
    every = dict([item for item in client.unroll(observation=observation, **actions)])
    assert list(every) == [1, 2, 3]
    assert {latents.visual.shape[:2] for latents in every.values()} == {(5, 1)}
    context = client.create_context(**scene())
    some = client.unroll(context=context, **actions, steps=[2], samples=[4, 1], dtype="float16")
    chosen = dict([item for item in some])
    assert list(chosen) == [2]
    np.testing.assert_allclose(chosen[2].visual, every[2].visual[[4, 1]], atol=1e-2)
    for wrong in ({"steps": [4]}, {"steps": ["a"]}, {"steps": [1.5]}, {"samples": [5]}, {"samples": 0}):
        with pytest.raises(InvalidArgumentError) as caught:
            next(client.unroll(observation=observation, **actions, **wrong))
        assert caught.value.field == next(iter(wrong))
    with pytest.raises(NotFoundError):
        next(client.unroll(context="unknown", **actions))
