"""Two plain servers behind one target: gRPC keeps a client on one, and goes to the other when that ends."""

import numpy as np
import pytest

from tests.scenes import raw_candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import NotFoundError, UnavailableError


@pytest.fixture
def two_servers(start_server):
    return [start_server("--model", "tiny", "--threads", "1") for _ in range(2)]


def test_contexts_stay_on_one_server_and_a_session_survives_its_end(two_servers):
    first, second = two_servers
    with Client(f"ipv4:{first.target},{second.target}", timeout=30) as client:
        context = client.create_context(**scene())
        before = client.score(context=context, **raw_candidates()).scores
        with client.session(**scene()) as session:
            np.testing.assert_array_equal(session.score(**raw_candidates()).scores, before)
            first.kill()
            np.testing.assert_array_equal(_retried(session, **raw_candidates()).scores, before)
        with pytest.raises(NotFoundError, match="context"):
            client.score(context=context, **raw_candidates())
        np.testing.assert_array_equal(client.score(**scene(), **raw_candidates()).scores, before)


def _retried(session, **candidates):
    """Score, once more if the call was in flight when the server ended."""
    try:
        return session.score(**candidates)
    except UnavailableError:
        return session.score(**candidates)
