"""Two plain servers behind one target: gRPC keeps a client on one, and goes to the other when that ends."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.client.name_server import NameServer
from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import InvalidArgumentError, NotFoundError, UnavailableError
from worldforge_jepa_client.provider.runtime import GrpcRuntime

DEADLINE = 60
PLAN = {"samples": 32, "iterations": 2, "horizon": 2, "seed": 1}
MANY = {"samples": 500, "horizon": 4}  # of a call that is in flight for a while
MANY_LOG = "500 candidates"
INFO = {
    "observation": scene()["observation"]["visual"],
    "observation_proprio": scene()["observation"]["proprio"],
    "goal": scene()["goal"]["visual"],
    "goal_proprio": scene()["goal"]["proprio"],
    "actions_are_normalized": False,
}


@pytest.fixture
def first(start_server):
    return start_server("--model", "tiny", "--threads", "1", "--log-level", "debug")


@pytest.fixture
def target(first, server):
    return f"ipv4:{first.target},{server.target}"


def answers(client, session, runtime):
    """Scores of a call, of a session and of WorldForge's runtime, and the actions of a plan."""
    payload = runtime.score_actions(model_path="", info=INFO, action_candidates=candidates())
    if "error" in payload:
        assert payload["error"]["type"] == "unavailable", payload
        raise UnavailableError(payload["error"]["message"])
    return (
        client.score(**scene(), **raw_candidates()).scores,
        session.score(**raw_candidates()).scores,
        np.array(payload["scores"], np.float32),
        client.plan(**scene(), **PLAN).result().actions,
    )


@contextlib.contextmanager
def callers(target):
    """A client, a session and a runtime on one target, and what they answer before anything ends."""
    with (
        Client(target, timeout=DEADLINE) as client,
        client.session(**scene()) as session,
        GrpcRuntime(target, timeout=DEADLINE) as runtime,
    ):
        three = client, session, runtime
        answers(*three)  # a runtime keeps a scene the second time
        yield three, answers(*three)


def assert_same(three, before):
    for answer, expected in zip(answers(*three), before, strict=True):
        np.testing.assert_array_equal(answer, expected)


def test_after_a_kill_all_goes_on_at_the_other_server_with_retry_even_a_call_in_flight(first, target, client):
    expected = client.score(**scene(), **raw_candidates(**MANY)).scores
    with (
        callers(target) as (three, before),
        Client(target, timeout=DEADLINE, retry=True) as retrying,
        ThreadPoolExecutor(1) as pool,
    ):
        context = three[0].create_context(**scene())
        in_flight = pool.submit(retrying.score, **scene(), **raw_candidates(**MANY))
        first.wait_logged(MANY_LOG)
        first.kill()
        np.testing.assert_array_equal(in_flight.result(DEADLINE).scores, expected)
        with contextlib.suppress(UnavailableError):
            three[0].model()  # at most one error without retry, of a call that was on its way
        assert_same(three, before)
        with pytest.raises(NotFoundError, match="context"):
            three[0].score(context=context, **raw_candidates())


def test_a_server_that_drains_answers_what_it_accepted_and_at_most_a_call_on_its_way_fails(first, target):
    cut = 0
    with callers(target) as (three, before), ThreadPoolExecutor(1) as pool:
        accepted = pool.submit(three[0].score, **scene(), **raw_candidates(**MANY))
        first.wait_logged(MANY_LOG)
        first.process.terminate()
        while first.process.poll() is None:
            try:
                assert_same(three, before)
            except UnavailableError:
                cut += 1
        assert cut <= 1
        assert_same(three, before)
        assert len(accepted.result(DEADLINE).scores) == MANY["samples"]


def test_clients_of_a_name_find_a_new_server_once_their_connection_is_old(start_server):
    old = start_server("--max-connection-age-seconds", "1", "--threads", "1", listen="127.0.0.2:0")
    port = old.target.rpartition(":")[2]
    new = start_server("--threads", "1", listen=f"127.0.0.3:{port}")
    options = [("grpc.dns_min_time_between_resolutions_ms", 100)]
    with NameServer("127.0.0.2") as names, Client(names.target(port), timeout=DEADLINE, options=options) as client:
        context = client.create_context(**scene())
        client.score(context=context, **raw_candidates())
        names.addresses[:] = ["127.0.0.3"]
        end = time.monotonic() + DEADLINE
        with client.session(**scene()) as session, pytest.raises(NotFoundError):
            while time.monotonic() < end:
                session.score(**raw_candidates())
                client.score(context=context, **raw_candidates())  # until it is another server's
        old.kill()
        assert client.model().name == "tiny"
        assert new.process.poll() is None


def test_retry_is_a_bool():
    with pytest.raises(InvalidArgumentError, match="retry"):
        Client("127.0.0.1:1", retry="yes")
