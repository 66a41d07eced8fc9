"""Through Ray Serve's HAProxy with two replicas, the service is that of a plain server."""

import numpy as np
import pytest

from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError

pytestmark = pytest.mark.ray
CLIENTS, CALLS = 20, 10


def test_scores_plans_and_reasons_are_those_of_a_plain_server(ray_target, server):
    with Client(ray_target, timeout=30) as ray, Client(server.target, timeout=30) as plain:
        through_ray, direct = _answers(ray), _answers(plain)

    for answer, expected in zip(through_ray, direct, strict=True):
        np.testing.assert_array_equal(answer, expected)


def test_contexts_of_a_client_stay_with_their_replica(ray_target):
    for robot in range(CLIENTS):
        with Client(ray_target, timeout=30, affinity=f"robot-{robot}") as client:
            context = client.create_context(**scene())
            for _ in range(CALLS):
                client.score(context=context, **raw_candidates())


def _answers(client):
    """Return scores of a call, scores of a session, a plan, and the reason of a refusal."""
    called = client.score(**scene(), **raw_candidates(16, 6)).scores
    with client.session(**scene()) as session:
        streamed = session.score(**raw_candidates(16, 6)).scores
    planned = client.plan(**scene(), samples=32, iterations=2, seed=1).result().actions
    with pytest.raises(JepaError) as refused:
        client.score(**scene(), action_candidates=candidates()[..., :7])
    return called, streamed, planned, refused.value.reason
