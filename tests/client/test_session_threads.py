"""Threads of sessions: a dropped session leaves none behind."""

import gc
import threading
import time

from tests.support.scenes import RAW, candidates, scene

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
