"""Contexts through the client: how long they live, whose they are, and that a scene comes in one way."""

import numpy as np
import pytest

from tests.support.scenes import candidates, scene
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError


async def test_a_context_lives_until_it_is_deleted(client):
    context = await client.create_context(**scene())
    await client.delete_context(context)
    with pytest.raises(NotFoundError) as caught:
        await client.score(context=context, action_candidates=candidates())
    assert caught.value.reason == "CONTEXT_NOT_FOUND"
    with pytest.raises(NotFoundError):
        await client.delete_context(context.id)


async def test_a_context_scores_with_its_own_model_only(client):
    context = await client.create_context(**scene(), model="other")
    assert (await client.score(context=context, action_candidates=candidates())).metadata["model"] == "other"
    with pytest.raises(FailedPreconditionError):
        await client.score(context=context, action_candidates=candidates(), model="tiny")


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        ({"context": "id", **scene()}, "context", "one way"),
        ({"context": "id", "goal": scene()["goal"]}, "context", "one way"),
        ({"context": "id", "action_history": np.zeros((1, 10))}, "context", "one way"),
        ({"observation": scene()["observation"]}, "context.goal", "is missing"),
        ({"goal": scene()["goal"]}, "context.observation", "is missing"),
        ({}, "context.observation", "is missing"),
    ],
)
async def test_a_call_takes_either_a_context_or_a_whole_scene(client, arguments, field, words):
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        await client.score(**arguments, action_candidates=candidates())
    assert caught.value.field == field


@pytest.mark.parametrize("method", ["score", "session", "plan"])
async def test_an_unknown_keyword_is_a_type_error(client, method):
    needed = scene() | ({"action_candidates": candidates()} if method == "score" else {})
    with pytest.raises(TypeError, match="objektive"):
        getattr(client, method)(**needed, objektive="l1")
