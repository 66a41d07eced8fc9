"""Signals reach a server whatever its threads do at that time."""

import asyncio
import signal
import threading

from worldforge_jepa_server.app.process import Signals


async def test_a_signal_that_another_thread_takes_wakes_the_loop():
    ended, before = threading.Event(), signal.getsignal(signal.SIGTERM)
    taker = threading.Thread(target=ended.wait)
    with Signals(drain_seconds=1e6) as signals:
        taker.start()
        signal.pthread_kill(taker.ident, signal.SIGTERM)
        await asyncio.wait_for(signals.stopping.wait(), 5)
    ended.set()
    taker.join()
    assert signal.getsignal(signal.SIGTERM) is before
