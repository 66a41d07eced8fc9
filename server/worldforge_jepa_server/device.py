"""The device thread's tools: its torch threads, a clock that waits for kernels, memory errors in our words."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

from worldforge_jepa_client.errors import ResourceExhaustedError


def use_threads(threads: int) -> None:
    """Set torch's threads for the calling thread; 0 keeps torch's own choice, one per core."""
    if threads:
        torch.set_num_threads(threads)


class Clock:
    """Seconds between laps, with the device's queued kernels finished."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap, or since the clock was made."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed


@contextlib.contextmanager
def device_memory() -> Iterator[None]:
    """Turn the device's out-of-memory error into ResourceExhaustedError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ResourceExhaustedError(
            "the device is out of memory; send fewer candidates at a time", reason="OUT_OF_MEMORY"
        ) from error
