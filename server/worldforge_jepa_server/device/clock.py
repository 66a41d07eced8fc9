"""The device thread's tools: torch's threads, and a clock of what the device does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from worldforge_jepa_server.models.devices import synchronize


def use_threads(threads: int) -> None:
    """Set torch's threads for the calling thread; 0 keeps torch's own choice, one per core."""
    if threads:
        torch.set_num_threads(threads)


class Clock:
    """Time of a call's stages on a device.

    On CUDA laps are events on the device's stream, and only `seconds` waits for the device; elsewhere a lap does.
    """

    def __init__(self, device: str) -> None:
        self._device, kind = device, torch.device(device).type
        self._has_events, self._queues = kind == "cuda", kind != "cpu"
        self._laps: list[tuple[str, Any]] = [("", self._now())]

    def lap(self, stage: str) -> None:
        """End a stage, which began with the last lap, or with the clock."""
        if self._queues and not self._has_events:
            synchronize(self._device)
        self._laps.append((stage, self._now()))

    def _now(self) -> Any:
        if not self._has_events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far."""
        if self._has_events:
            self._laps[-1][1].synchronize()
        taken: dict[str, float] = {}
        for (_, before), (stage, after) in pairwise(self._laps):
            seconds = before.elapsed_time(after) / 1e3 if self._has_events else after - before
            taken[stage] = taken.get(stage, 0.0) + seconds
        return taken


def stage_seconds(clocks: Sequence[Clock]) -> tuple[float, float, float]:
    """Return the seconds of encode, unroll and distance over several batches."""
    encode = unroll = distance = 0.0
    for clock in clocks:
        taken = clock.seconds()
        encode += taken.get("encode", 0.0)
        unroll += taken.get("unroll", 0.0)
        distance += taken.get("distance", 0.0)
    return encode, unroll, distance
