# Made from tests/aio/test_session.py by scripts/async_to_sync.py.
"""Sessions on a real server: the same scores as by unary calls, whatever changes in between."""

import time

import numpy as np
import pytest

from tests.support.results import assert_same
from tests.support.scenes import RAW, candidates, raw_candidates, scene
from tests.sync.support import together
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import InvalidArgumentError

DEADLINE = 60


@pytest.mark.parametrize("model", ["", "other"])
@pytest.mark.parametrize("objective", ["l2", "cosine"])
def test_unary_context_and_stream_score_the_same_bit_by_bit(client, model, objective):
    how = RAW | {"objective": objective, "proprio_weight": 0.25}
    context = client.create_context(**scene(), model=model)
    assert context.expires_at > time.time()
    with client.session(**scene(), model=model, **how) as session:
        for seed in range(3):
            expected = client.score(**scene(), action_candidates=candidates(seed=seed), model=model, **how)
            assert_same(client.score(context=context, action_candidates=candidates(seed=seed), **how), expected)
            assert_same(client.score(context=context.id, action_candidates=candidates(seed=seed), **how), expected)
            assert_same(session.score(candidates(seed=seed)), expected)
        assert session.reconnects == 0


def test_answers_keep_their_order_when_requests_run_ahead(client):
    expected = [client.score(**scene(), **raw_candidates(seed=seed, samples=seed % 5 + 1)) for seed in range(80)]
    with client.session(**scene(), **RAW) as session:
        pending = [session.submit(candidates(seed=seed, samples=seed % 5 + 1)) for seed in range(80)]
        for one, wanted in zip(pending, expected, strict=True):
            assert_same(one.result(), wanted)
            assert one.done()


def test_concurrent_tasks_share_a_session(client):
    expected = [client.score(**scene(), **raw_candidates(seed=seed)) for seed in range(40)]
    with client.session(**scene(), **RAW) as session:
        results = together(lambda seed: session.score(candidates(seed=seed)), range(40))
    for got, wanted in zip(results, expected, strict=True):
        assert_same(got, wanted)


def test_the_scene_changes_in_mid_stream(client):
    frame = scene(start=(40.0, 12.0))["observation"]
    frames = {name: np.stack([array, array]) for name, array in frame.items()}
    history = np.ones((1, 10), np.float32)
    goal = scene(goal=(20.0, 40.0))["goal"]
    with client.session(**scene(), **RAW) as session:
        session.score(candidates())
        session.set_goal(goal)
        assert_same(
            session.score(candidates()),
            client.score(observation=scene()["observation"], goal=goal, **raw_candidates()),
        )
        session.observe(frames, history)
        ahead = [session.submit(candidates(seed=seed)) for seed in range(3)]
        session.observe(frame)
        after = session.submit(candidates())
        for seed, pending in enumerate(ahead):
            wanted = client.score(observation=frames, goal=goal, action_history=history, **raw_candidates(seed=seed))
            assert_same(pending.result(), wanted)
        assert_same(after.result(), client.score(observation=frame, goal=goal, **raw_candidates()))


def test_buffers_can_be_reused_after_submit(client):
    mine, actions = scene(), candidates(samples=64, horizon=8)
    expected = client.score(**mine, action_candidates=actions, **RAW)
    with client.session(**mine, **RAW) as session:
        mine["observation"]["visual"][:] = 0
        mine["goal"]["proprio"][:] = 0
        ahead = [session.submit(actions) for _ in range(3)]
        actions[:] = 0
        ahead[0].cancel()  # the others are sent again
        for pending in ahead[1:]:
            assert_same(pending.result(), expected)


def test_each_request_of_a_session_can_set_its_own_options(client):
    with client.session(**scene(), **RAW, objective="l1") as session:
        first = session.score(candidates())
        assert_same(
            session.score(candidates(), objective="cosine"),
            client.score(**scene(), **raw_candidates(), objective="cosine"),
        )
        normalized = client.score(**scene(), action_candidates=candidates(), objective="l1")
        assert_same(session.score(candidates(), actions_are_normalized=True), normalized)
        assert_same(session.score(candidates()), first)


def test_an_argument_that_does_not_fit_is_refused_before_it_is_sent_and_changes_nothing(client):
    bad = {"observation": scene()["observation"], "goal": np.zeros((4, 8, 8), np.uint8)}
    with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
        with client.session(**bad):
            pass
    with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
        client.session(**bad).score(candidates())
    with client.session(**scene(), **RAW) as session:
        good = session.score(candidates())
        with pytest.raises(InvalidArgumentError, match="action_candidates"):
            session.score(candidates()[..., :9])
        with pytest.raises(InvalidArgumentError, match=r"context\.action_history"):
            session.observe(scene()["observation"], np.zeros((1, 10)))
        with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
            session.set_goal(np.zeros((1, 1, 4, 8, 8), np.uint8))
        with pytest.raises(TypeError, match="objektive"):
            session.score(candidates(), objektive="l1")
        assert_same(session.score(candidates()), good)
        assert session.reconnects == 0


def test_a_refusal_by_the_server_leaves_the_session_alive(client, server):
    limit = (client.model()).limits
    with Client(server.target, timeout=DEADLINE) as trusting, trusting.session(**scene(), **RAW) as session:
        good = session.score(candidates())
        spec = trusting._specs[""]
        object.__setattr__(spec, "limits", type(limit)(10**6, 10**6, 10**6))
        object.__setattr__(spec.visual, "shape", (1, -1, -1, -1, -1))
        with pytest.raises(Exception, match="the limit is") as caught:
            session.score(candidates(samples=1, horizon=limit.max_horizon + 1))
        assert caught.value.field == "action_candidates"
        session.set_goal({"visual": np.zeros((4, 8, 8), np.uint8), "proprio": scene()["goal"]["proprio"]})
        with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
            session.score(candidates())
        session.set_goal(scene()["goal"])
        assert_same(session.score(candidates()), good)
        assert session.reconnects == 0
