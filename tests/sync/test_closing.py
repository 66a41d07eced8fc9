# Made from tests/aio/test_closing.py by scripts/async_to_sync.py.
"""Closing a client: what is running ends at once with CallCancelledError, and every method says that it is closed."""

import time

import pytest

from tests.support.scenes import RAW, candidates, scene
from tests.sync.support import running
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import CallCancelledError

DEADLINE = 60


@pytest.fixture
def deaf(silent_target, client):
    """A client of a server that never answers, and that knows the model all the same."""
    with Client(silent_target, timeout=DEADLINE) as deaf:
        deaf._specs[""] = client.model()
        yield deaf


def ends_at_once(deaf, call):
    with running(call) as outcome:
        began = time.monotonic()
        deaf.close()
        with pytest.raises(CallCancelledError) as caught:
            outcome()
        assert time.monotonic() - began < 5
    assert caught.value.reason == "CLIENT_CLOSED"


def test_closing_ends_a_call(deaf):
    ends_at_once(deaf, lambda: deaf.score(**scene(), action_candidates=candidates()))


def test_closing_ends_a_plan(deaf):
    ends_at_once(deaf, lambda: deaf.plan(**scene()).result())


def test_closing_ends_a_prediction(deaf):
    steps = deaf.unroll(observation=scene()["observation"], action_candidates=candidates())
    ends_at_once(deaf, lambda: next(steps))


def test_closing_ends_the_requests_of_a_session(deaf):
    session = deaf.session(**scene(), **RAW)
    pending = [session.submit(candidates()) for _ in range(3)]
    ends_at_once(deaf, pending[0].result)
    for request in pending:
        assert request.done()
        with pytest.raises(CallCancelledError):
            request.result()


def test_every_method_of_a_closed_client_says_so(client):
    session = client.session(**scene(), **RAW)
    session.score(candidates())
    client.close()
    client.close()
    calls = [
        client.model,
        client.models,
        client.wait_ready,
        lambda: client.score(**scene(), action_candidates=candidates()),
        lambda: client.create_context(**scene()),
        lambda: client.delete_context("id"),
        lambda: client.encode(observation=scene()["observation"]),
        lambda: client.plan(**scene()).result(),
        lambda: next(client.unroll(observation=scene()["observation"], action_candidates=candidates())),
        lambda: client.session(**scene()).score(candidates()),
        lambda: session.score(candidates()),
        lambda: session.submit(candidates()),
        lambda: session.observe(scene()["observation"]),
        lambda: session.set_goal(scene()["goal"]),
    ]
    for call in calls:
        with pytest.raises(CallCancelledError) as caught:
            call()
        assert caught.value.reason == "CLIENT_CLOSED"
    session.close()


def test_every_method_of_a_closed_session_says_so(client):
    session = client.session(**scene(), **RAW)
    session.score(candidates())
    session.close()
    calls = [
        lambda: session.score(candidates()),
        lambda: session.submit(candidates()),
        lambda: session.observe(scene()["observation"]),
        lambda: session.set_goal(scene()["goal"]),
        session.__enter__,
    ]
    for call in calls:
        with pytest.raises(CallCancelledError) as caught:
            call()
        assert caught.value.reason == "SESSION_CLOSED"
