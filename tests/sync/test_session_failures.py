# Made from tests/aio/test_session_failures.py by scripts/async_to_sync.py.
"""Sessions when servers go, requests run out of time and sessions end: errors at once, and no score of another scene."""

import time

import pytest

from tests.support.results import assert_same
from tests.support.scenes import LONG, LONG_LOG, RAW, candidates, scene
from tests.sync.support import blocking
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import CallCancelledError, DeadlineExceededError, UnavailableError

DEADLINE = 60


def test_a_session_survives_a_restart_of_the_server(start_server):
    first = start_server()
    with Client(first.target, timeout=DEADLINE) as client, client.session(**scene(), **RAW) as session:
        before = session.score(candidates())
        session.set_goal(scene(goal=(20.0, 40.0))["goal"])
        moved = session.score(candidates())
        first.kill()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=first.target):
            session.score(candidates())
        assert time.monotonic() - began < 5
        assert session.reconnects == 0
        second = start_server("--log-level", "debug", listen=first.target)
        client.wait_ready(DEADLINE)
        assert_same(session.score(candidates()), moved)
        assert session.reconnects == 1
        session.set_goal(scene()["goal"])
        assert_same(session.score(candidates()), before)
        assert session.reconnects == 1
        doomed = session.submit(candidates(**LONG))
        blocking(second.wait_logged, LONG_LOG)
        second.kill()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=first.target):
            doomed.result()
        assert time.monotonic() - began < 5


def test_without_a_server_a_session_is_an_error_at_once():
    with Client("127.0.0.1:1", timeout=DEADLINE) as client:
        with pytest.raises(UnavailableError):
            with client.session(**scene()):
                pass


def test_a_request_out_of_time_frees_the_device_and_the_session_goes_on(start_server):
    server = start_server()
    with Client(server.target, timeout=DEADLINE) as client, client.session(**scene(), **RAW) as session:
        good = session.score(candidates())
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            session.score(candidates(**LONG), timeout=1.0)
        assert 1.0 <= time.monotonic() - began < 5
        assert_same(session.score(candidates()), good)
        slow = session.submit(candidates(**LONG))
        behind = session.submit(candidates())
        slow.cancel()
        with pytest.raises(CallCancelledError):
            slow.result()
        assert_same(behind.result(), good)
        assert time.monotonic() - began < 30


def test_a_silent_server_times_out_at_the_deadline(silent_target, client):
    with Client(silent_target, timeout=0.3) as deaf:
        deaf._specs[""] = client.model()
        with deaf.session(**scene()) as session:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(DeadlineExceededError):
                    session.score(candidates())
                assert time.monotonic() - began < 5


def test_a_closed_session_raises_an_error_that_says_so(client):
    session = client.session(**scene(), **RAW)
    session.score(candidates())
    session.close()
    session.close()
    with pytest.raises(CallCancelledError) as caught:
        session.score(candidates())
    assert caught.value.reason == "SESSION_CLOSED"
