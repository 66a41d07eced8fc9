"""The device thread's tools: torch's threads, and a clock that waits for kernels."""

from __future__ import annotations

import time

import torch

from worldforge_jepa_server.models.devices import synchronize


def use_threads(threads: int) -> None:
    """Set torch's threads for the calling thread; 0 keeps torch's own choice, one per core."""
    if threads:
        torch.set_num_threads(threads)


class Clock:
    """Seconds between laps, with the device's queued kernels finished."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap, or since the clock was made."""
        synchronize(self._device)
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed
