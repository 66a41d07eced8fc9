"""The device's queue: one worker thread owns the device, and the event loop never waits on it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from worldforge_jepa_client.errors import ResourceExhaustedError

_R = TypeVar("_R")
Work = Callable[[threading.Event], _R]
"""Runs on the device thread; the event is set once nobody waits for the result any more."""

_SMOOTHING = 0.2  # weight of the newest call in the running mean of call times


class Engine:
    """Runs work on the device in the order of arrival, one piece at a time; `pending` is queued or running.

    Args:
        queue_size: how many calls may be queued or running; more are refused.
        on_start: called in the device thread before any work, e.g. to set torch's threads there.
    """

    def __init__(self, queue_size: int, on_start: Callable[[], None]) -> None:
        self._queue_size = queue_size
        self.pending = 0
        self._mean_seconds = 0.0
        self._device = ThreadPoolExecutor(1, thread_name_prefix="device", initializer=on_start)

    async def run(self, work: Work[_R]) -> tuple[_R, float]:
        """Run `work` when the device is free; return its result and the seconds it waited.

        Cancelling the awaiting task takes the work off the queue, or tells it to stop by setting its event.

        Raises:
            ResourceExhaustedError: the queue is full; `retry_after` estimates when it will have moved.
        """
        if self.pending >= self._queue_size:
            raise ResourceExhaustedError(
                f"the queue holds {self.pending} calls, its limit",
                reason="QUEUE_FULL",
                retry_after=max(0.001, self.pending * self._mean_seconds / 2),
            )
        abandoned, arrived = threading.Event(), time.perf_counter()
        self.pending += 1
        try:
            done = asyncio.get_running_loop().run_in_executor(self._device, self._timed, work, abandoned)
            result, began = await done
        finally:
            abandoned.set()
            self.pending -= 1
        return result, began - arrived

    def close(self) -> None:
        """Let running work end and drop what is queued."""
        self._device.shutdown(wait=True, cancel_futures=True)

    def _timed(self, work: Work[_R], abandoned: threading.Event) -> tuple[_R, float]:
        began = time.perf_counter()
        result = work(abandoned)
        self._mean_seconds += _SMOOTHING * (time.perf_counter() - began - self._mean_seconds)
        return result, began
