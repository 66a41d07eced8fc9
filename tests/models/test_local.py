"""LocalClient: the same scores, plans and latents as through a server, bit by bit, and the same errors."""

import numpy as np
import pytest

from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.local import LocalClient

PLAN = {"horizon": 2, "samples": 16, "iterations": 3, "elites": 4, "seed": 5}


@pytest.fixture(scope="module")
def local():
    with LocalClient("tiny", config=ServerConfig(threads=1)) as local:
        yield local


def session_scores(client):
    with client.session(**scene(), actions_are_normalized=False) as session:
        yield session.score(candidates(seed=1)).scores
        yield session.score(candidates(seed=1), objective="l1").scores
        session.observe(scene(start=(20.0, 20.0))["observation"])
        session.set_goal(scene(goal=(40.0, 20.0))["goal"])
        yield session.score(candidates(seed=2)).scores


def plan(client, **more):
    made = client.plan(**scene(), **PLAN | more).result()
    return [made.actions, made.best_actions, np.array(made.score), np.array([made.iterations, made.complete])]


def context_scores(client):
    context = client.create_context(**scene())
    scores = client.score(context=context, **raw_candidates()).scores
    client.delete_context(context)
    return [scores]


def latents(client, dtype):
    found = client.encode(observation=scene()["observation"], dtype=dtype)
    return [found.visual, found.proprio]


def unrolled(client, **more):
    steps = client.unroll(observation=scene()["observation"], **raw_candidates(5, 3), **more)
    return [part for step, found in steps for part in (np.array(step), found.visual, found.proprio)]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: [client.score(**scene(), **raw_candidates(7), proprio_weight=0.25).scores],
        context_scores,
        session_scores,
        plan,
        lambda client: plan(client, method="icem", on_device=True),
        *(lambda client, dtype=dtype: latents(client, dtype) for dtype in ("float32", "float16", "bfloat16")),
        unrolled,
        lambda client: unrolled(client, steps=(2,), samples=(4, 1), dtype="bfloat16"),
    ],
)
def test_results_equal_those_through_the_wire_bit_by_bit(client, local, call):
    remote, here = list(call(client)), list(call(local))
    assert len(remote) == len(here) > 0
    for one, other in zip(remote, here, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda client: client.score(**scene(), action_candidates=np.zeros((1, 2, 2, 9), np.float32)),
        lambda client: client.score(**scene(), **raw_candidates(), objective="l7"),
        lambda client: client.score(**scene(), **raw_candidates(), proprio_weight=-1.0),
        lambda client: client.score(**scene(), **raw_candidates(), model="none").scores,
        lambda client: client.score(context="none", **raw_candidates()),
        lambda client: client.score(**scene() | {"goal": scene()["goal"]["visual"]}, **raw_candidates()),
        lambda client: client.session(**scene() | {"goal": np.zeros((3, 8))}).score(
            raw_candidates()["action_candidates"]
        ),
        lambda client: client.plan(**scene(), **PLAN | {"samples": 10**6}).result(),
        lambda client: client.encode(observation=scene()["observation"], dtype="int32"),
        lambda client: list(unrolled(client, steps=(9,))),
    ],
)
def test_a_misuse_raises_the_same_error(client, local, misuse):
    errors = []
    for each in (client, local):
        with pytest.raises(JepaError) as caught:
            misuse(each)
        errors.append(caught.value)
    remote, here = errors
    assert (type(here), here.reason, here.field) == (type(remote), remote.reason, remote.field)
