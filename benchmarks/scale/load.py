"""Clients of the sleeping model, half with unary calls and half in sessions, while the servers behind them change."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError

SCENE: dict[str, Any] = {name: np.zeros((1, 1, 3, 8, 8), np.uint8) for name in ("observation", "goal")}
CANDIDATES = np.zeros((1, 4, 2, 10), np.float32)
MODEL = "sleeping"
_TIMEOUT = 60.0


class Load:
    """Callers in threads, each of which calls again as soon as it is answered.

    Attributes:
        times: of all answers, on the monotonic clock.
        answers: since `begin`, as are the two below.
        errors: the reasons of failed calls, counted.
        slowest: seconds of the longest call.
    """

    def __init__(self, target: str) -> None:
        self.times: list[float] = []
        self._target, self._ended, self._counting = target, threading.Event(), threading.Lock()
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        with self._counting:
            self.answers, self.errors, self.slowest = 0, Counter[str](), 0.0

    def rate(self, seconds: float) -> float:
        """Return the answers a second during the next seconds."""
        before, began = len(self.times), time.monotonic()
        self._ended.wait(seconds)
        return (len(self.times) - before) / (time.monotonic() - began)

    def call(self, name: str, in_session: bool) -> None:
        """Call until the load ends, as the client `name`."""
        with Client(self._target, timeout=_TIMEOUT, affinity=name) as client, contextlib.ExitStack() as stack:
            if in_session:
                session = stack.enter_context(client.session(**SCENE, model=MODEL))
                self._repeat(lambda: session.score(CANDIDATES))
            else:
                self._repeat(lambda: client.score(**SCENE, action_candidates=CANDIDATES, model=MODEL))

    def end(self) -> None:
        """Have each caller end after its call."""
        self._ended.set()

    def _repeat(self, call: Callable[[], object]) -> None:
        while not self._ended.is_set():
            began, error = time.monotonic(), None
            try:
                call()
            except JepaError as failed:
                error = failed.reason
            self._count(error, time.monotonic() - began)

    def _count(self, error: str | None, seconds: float) -> None:
        with self._counting:
            if error is None:
                self.answers += 1
                self.times.append(time.monotonic())
            else:
                self.errors[error] += 1
            self.slowest = max(self.slowest, seconds)


@contextlib.contextmanager
def loaded(target: str, callers: int = 8) -> Iterator[Load]:
    """Run so many callers beside the body."""
    load = Load(target)
    threads = [threading.Thread(target=load.call, args=(f"robot-{i}", bool(i % 2))) for i in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.end()
        for thread in threads:
            thread.join()
