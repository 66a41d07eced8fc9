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


async def test_a_signal_between_a_look_at_the_event_and_the_wait_for_it_is_not_lost(monkeypatch):
    loop = asyncio.get_running_loop()
    create_future = loop.create_future

    def signalled():  # by `Event.wait`, after it has looked and before it is among the waiters
        monkeypatch.undo()
        signal.raise_signal(signal.SIGTERM)
        return create_future()

    with Signals(drain_seconds=1e6) as signals:
        monkeypatch.setattr(loop, "create_future", signalled)
        waiting = asyncio.ensure_future(signals.stopping.wait())
        await asyncio.sleep(0)  # lets it begin
        await asyncio.wait([waiting], timeout=5)
        assert waiting.done()
