"""Threads of sessions: a dropped session leaves none behind, and one that is stuck holds up no close."""

import gc
import threading
import time
from types import SimpleNamespace

from tests.support.scenes import RAW, candidates, scene
from worldforge_jepa_client.rpc.sync.connection import Streams

DEADLINE = 60


def test_dropped_sessions_leave_no_threads(client):
    def alive():
        gc.collect()
        return sum(thread.name == "session" for thread in threading.enumerate())

    for _ in range(20):
        client.session(**scene(), **RAW).score(candidates())
    deadline = time.monotonic() + DEADLINE
    while alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_closing_ends_although_a_reader_is_stuck_in_grpc():
    over = threading.Event()

    class Stuck:
        """Responses of a call whose lock an interrupt left taken: `cancel` does not end them."""

        def __iter__(self):
            over.wait(DEADLINE)
            return iter(())

        def cancel(self):
            pass

    connection = SimpleNamespace(open=lambda _: Stuck(), outcome=lambda error: error, target="host:1")
    streams = Streams(connection)
    streams.open(SimpleNamespace(ended=lambda *_: None))
    closing = threading.Thread(target=streams.join, daemon=True)
    closing.start()
    closing.join(DEADLINE / 2)
    stuck = closing.is_alive()
    over.set()
    assert not stuck
