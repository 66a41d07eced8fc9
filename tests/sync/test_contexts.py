# Made from tests/aio/test_contexts.py by scripts/async_to_sync.py.
"""Contexts through the client: how long they live, whose they are, and that a scene comes in one way."""

import numpy as np
import pytest

from tests.support.scenes import candidates, scene
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError


def test_a_context_lives_until_it_is_deleted(client):
    context = client.create_context(**scene())
    client.delete_context(context)
    with pytest.raises(NotFoundError) as caught:
        client.score(context=context, action_candidates=candidates())
    assert caught.value.reason == "CONTEXT_NOT_FOUND"
    with pytest.raises(NotFoundError):
        client.delete_context(context.id)


def test_a_context_scores_with_its_own_model_only(client):
    context = client.create_context(**scene(), model="other")
    assert (client.score(context=context, action_candidates=candidates())).metadata["model"] == "other"
    with pytest.raises(FailedPreconditionError):
        client.score(context=context, action_candidates=candidates(), model="tiny")


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
def test_a_call_takes_either_a_context_or_a_whole_scene(client, arguments, field, words):
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        client.score(**arguments, action_candidates=candidates())
    assert caught.value.field == field


@pytest.mark.parametrize("method", ["score", "session", "plan"])
def test_an_unknown_keyword_is_a_type_error(client, method):
    needed = scene() | ({"action_candidates": candidates()} if method == "score" else {})
    with pytest.raises(TypeError, match="objektive"):
        getattr(client, method)(**needed, objektive="l1")
