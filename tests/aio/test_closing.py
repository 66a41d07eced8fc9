"""Closing a client: what is running ends at once with CallCancelledError, and every method says that it is closed."""

import time

import pytest

from tests.aio.support import running
from tests.support.scenes import RAW, candidates, scene
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import CallCancelledError

DEADLINE = 60


@pytest.fixture
async def deaf(silent_target, client):
    """A client of a server that never answers, and that knows the model all the same."""
    async with AsyncClient(silent_target, timeout=DEADLINE) as deaf:
        deaf._specs[""] = await client.model()
        yield deaf


async def ends_at_once(deaf, call):
    async with running(call) as outcome:
        began = time.monotonic()
        await deaf.close()
        with pytest.raises(CallCancelledError) as caught:
            await outcome()
        assert time.monotonic() - began < 5
    assert caught.value.reason == "CLIENT_CLOSED"


async def test_closing_ends_a_call(deaf):
    await ends_at_once(deaf, lambda: deaf.score(**scene(), action_candidates=candidates()))


async def test_closing_ends_a_plan(deaf):
    await ends_at_once(deaf, lambda: deaf.plan(**scene()).result())


async def test_closing_ends_a_prediction(deaf):
    steps = deaf.unroll(observation=scene()["observation"], action_candidates=candidates())
    await ends_at_once(deaf, lambda: anext(steps))


async def test_closing_ends_the_requests_of_a_session(deaf):
    session = deaf.session(**scene(), **RAW)
    pending = [await session.submit(candidates()) for _ in range(3)]
    await ends_at_once(deaf, pending[0].result)
    for request in pending:
        assert request.done()
        with pytest.raises(CallCancelledError):
            await request.result()


async def test_every_method_of_a_closed_client_says_so(client):
    session = client.session(**scene(), **RAW)
    await session.score(candidates())
    await client.close()
    await client.close()
    calls = [
        client.model,
        client.models,
        client.wait_ready,
        lambda: client.score(**scene(), action_candidates=candidates()),
        lambda: client.create_context(**scene()),
        lambda: client.delete_context("id"),
        lambda: client.encode(observation=scene()["observation"]),
        lambda: client.plan(**scene()).result(),
        lambda: anext(client.unroll(observation=scene()["observation"], action_candidates=candidates())),
        lambda: client.session(**scene()).score(candidates()),
        lambda: session.score(candidates()),
        lambda: session.submit(candidates()),
        lambda: session.observe(scene()["observation"]),
        lambda: session.set_goal(scene()["goal"]),
    ]
    for call in calls:
        with pytest.raises(CallCancelledError) as caught:
            await call()
        assert caught.value.reason == "CLIENT_CLOSED"
    await session.close()


async def test_every_method_of_a_closed_session_says_so(client):
    session = client.session(**scene(), **RAW)
    await session.score(candidates())
    await session.close()
    calls = [
        lambda: session.score(candidates()),
        lambda: session.submit(candidates()),
        lambda: session.observe(scene()["observation"]),
        lambda: session.set_goal(scene()["goal"]),
        session.__aenter__,
    ]
    for call in calls:
        with pytest.raises(CallCancelledError) as caught:
            await call()
        assert caught.value.reason == "SESSION_CLOSED"
