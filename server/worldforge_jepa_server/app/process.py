"""The process around the server: its standard output, its signals, its supervisor, and an end that nothing holds up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_log = logging.getLogger(__name__)
_FORCED_AFTER = 0.5  # seconds past the drain
_LINE_BYTES = 8192


@contextlib.contextmanager
def standard_output() -> Iterator[Callable[[str], None]]:
    """Yield what announces the server: on standard output, and to systemd. Whatever else is printed goes to the log.

    The pipe is emptied by a thread, so that a model that prints never fills it.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    read, write = os.pipe()
    os.dup2(write, 1)
    os.close(write)
    os.set_inheritable(1, True)
    threading.Thread(target=_log_output, args=(read,), name="output", daemon=True).start()
    try:
        yield lambda line: _announce(kept, line)
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _announce(descriptor: int, line: str) -> None:
    """Print a line, and tell systemd that the server is ready; a line that is no longer read does not matter."""
    with contextlib.suppress(OSError):
        os.write(descriptor, f"{line}\n".encode())
    notify(f"READY=1\nSTATUS={line}")


def notify(state: str) -> None:
    """Tell systemd the state of a unit with `Type=notify`, in the words of sd_notify(3); elsewhere do nothing."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(state.encode(), path.replace("@", "\0", 1) if path.startswith("@") else path)


def _log_output(descriptor: int) -> None:
    with open(descriptor, encoding="utf-8", errors="replace") as output:
        while line := output.readline(_LINE_BYTES):
            _log.info("printed: %s", line.rstrip("\n"))


class Signals:
    """SIGTERM and SIGINT: the first asks for the end, the second for an end at once.

    From the first one on a thread counts: the process exits when the drain is over, whatever state it is in.
    """

    def __init__(self, drain_seconds: float) -> None:
        self.stopping, self.hurried = asyncio.Event(), asyncio.Event()
        self._received_one = False
        self._loop, self._seconds = asyncio.get_running_loop(), drain_seconds

    def __enter__(self) -> Signals:
        self._before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
        for signum in self._before:
            with contextlib.suppress(NotImplementedError):  # of Windows, whose loop is woken by every signal
                # Python runs a handler between two steps of the main thread. A signal that another thread takes, or
                # that comes just before the loop sleeps, would wait for it to wake up.
                self._loop.add_signal_handler(signum, int)
            signal.signal(signum, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            with contextlib.suppress(NotImplementedError):  # as above
                self._loop.remove_signal_handler(signum)
            signal.signal(signum, handler)

    def _received(self, _signum: int, _frame: FrameType | None) -> None:
        # Only the loop sets its events: this handler may have interrupted `Event.wait` between its look and its wait.
        if self._received_one:
            self._loop.call_soon_threadsafe(self.hurried.set)
        else:
            self._received_one = True
            notify("STOPPING=1")
            self._loop.call_soon_threadsafe(self.stopping.set)
            exit_after(self._seconds + _FORCED_AFTER, "the drain is over and a thread has not returned")


def exit_after(seconds: float, why: str) -> None:
    """End the process with exit code 1 after so long, unless it has ended by itself."""
    timer = threading.Timer(seconds, exit_now, (1, why))
    timer.daemon = True
    timer.start()


def exit_now(code: int, why: str = "") -> None:
    """End the process without waiting for any thread; the log gets a moment."""
    if why:
        _log.critical("exit with code %d: %s", code, why)
    for handler in logging.getLogger().handlers:
        handler.close()
    os._exit(code)
