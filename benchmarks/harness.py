"""Timing on a noisy machine: the variants run in turns, round by round, within one process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from worldforge_jepa_client.tools.progress import Progress

Seconds = npt.NDArray[np.float64]
Variant = Callable[[int], list[float]]
"""Does a thing so many times, one after the other; returns the seconds that each took."""

_T = TypeVar("_T")


def calling(call: Callable[[], object]) -> Variant:
    """Time a function."""

    def variant(times: int) -> list[float]:
        return [_timed(call) for _ in range(times)]

    return variant


def keeping(results: list[_T], call: Callable[[], _T]) -> Variant:
    """Time a function, and keep what it returns."""
    return calling(lambda: results.append(call()))


def awaiting(loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[object]]) -> Variant:
    """Time what a coroutine function does, without the cost of entering the loop."""

    async def repeat(times: int) -> list[float]:
        seconds = []
        for _ in range(times):
            began = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - began)
        return seconds

    return lambda times: loop.run_until_complete(repeat(times))


def interleave(
    variants: Mapping[str, Variant], seconds: float, *, calls: int = 1, warm_up: bool = True
) -> dict[str, Seconds]:
    """Time the variants in turn, `calls` at a time, for `seconds` and at least two rounds.

    A first round that is not counted warms them up.
    """
    if warm_up:
        for variant in variants.values():
            variant(calls)
    taken: dict[str, list[float]] = {name: [] for name in variants}
    began, rounds = time.perf_counter(), 0
    with Progress("measuring", seconds) as bar:
        while rounds < 2 or time.perf_counter() < began + seconds:
            for name, variant in variants.items():
                taken[name] += variant(calls)
            rounds += 1
            bar.show(time.perf_counter() - began, note=f"{rounds} rounds")
    return {name: np.array(values) for name, values in taken.items()}


def median(values: Sequence[float] | Seconds) -> float:
    """The 50th percentile."""
    return float(np.median(values))


def p99(values: Sequence[float] | Seconds) -> float:
    """The 99th percentile."""
    return float(np.percentile(values, 99))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
