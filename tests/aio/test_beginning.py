"""The moments at which calls, sessions and plans are checked and sent: the same with both kinds of client."""

import numpy as np
import pytest

from tests.support.scenes import candidates, scene
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import InvalidArgumentError, UnavailableError

NOWHERE = "127.0.0.1:1"
TWICE = {"context": "id", **scene()}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("plan", {"horizon": "6"}),
        ("plan", {"timeout": -1}),
        ("session", {"proprio_weight": "much"}),
        ("session", {"timeout": "1 s"}),
        ("unroll", {"action_candidates": candidates(), "steps": ["a"], "goal": None}),
        ("unroll", {"action_candidates": candidates(), "timeout": "1 s", "goal": None}),
    ],
)
async def test_arguments_are_converted_at_the_call(method, arguments):
    given = {name: value for name, value in (scene() | arguments).items() if value is not None}
    async with AsyncClient(NOWHERE) as client:
        with pytest.raises(InvalidArgumentError):
            getattr(client, method)(**given)


async def test_sessions_plans_and_predictions_send_nothing_until_they_are_used():
    async with AsyncClient(NOWHERE) as client:
        session = client.session(**scene())
        stream = client.plan(**scene())
        steps = client.unroll(observation=scene()["observation"], action_candidates=candidates())
        with pytest.raises(UnavailableError):
            await session.score(candidates())
        with pytest.raises(UnavailableError):
            await stream.result()
        with pytest.raises(UnavailableError):
            await anext(steps)


async def test_a_session_checks_its_scene_on_entering_or_with_its_first_request(client):
    bad = {"observation": scene()["observation"], "goal": np.zeros((4, 8, 8), np.uint8)}
    session = client.session(**bad)
    with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
        async with session:
            pass
    session = client.session(**bad)
    with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
        await session.submit(candidates())


async def test_the_time_of_a_plan_runs_from_its_first_use(client):
    stream = client.plan(**scene(), horizon=2, samples=8, elites=4, iterations=2, timeout=2.0)
    await client.score(**scene(), action_candidates=candidates(samples=2000, horizon=8), actions_are_normalized=False)
    assert (await stream.result()).complete


async def test_a_plan_cancelled_before_it_began_has_no_result():
    async with AsyncClient(NOWHERE) as client:
        stream = client.plan(**scene())
        stream.cancel()
        with pytest.raises(Exception, match="cancelled"):
            await stream.result()
