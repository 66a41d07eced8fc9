"""Counts of what a server did, cheap enough for every message: written by the event loop, read by the exporter."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.types import Timing

SECONDS = tuple(0.001 * 2.0**n for n in range(-4, 16))
"""Upper bounds of times: 1 ms x 2^n, from 62.5 us to 33 s."""
REQUESTS = tuple(2**n for n in range(8))
CANDIDATES = tuple(4**n for n in range(10))
STAGES = ("queue", "decode", "encode", "unroll", "distance", "total")
"""The fields of `Timing`, in their order."""


_microseconds = attrgetter(*(f"{stage}_us" for stage in STAGES))
_FOLD_AT = 4096

_R = TypeVar("_R")


class Histogram:
    """Counts of values up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Count many values."""
        counted = np.bincount(np.searchsorted(self.bounds, values), minlength=len(self.counts))
        self.counts = (counted + self.counts).tolist()
        self.sum += float(values.sum())


class Later(Generic[_R]):
    """Keeps what is to be counted, because counting costs more than a small message may: done when it is read.

    Written by the event loop, and read by any thread.
    """

    def __init__(self, count: Callable[[list[_R]], None]) -> None:
        self._count, self._kept, self._lock = count, deque[_R](), threading.Lock()

    def add(self, each: _R) -> None:
        """Keep one more."""
        self._kept.append(each)
        if len(self._kept) >= _FOLD_AT:
            self.fold()

    def fold(self) -> None:
        """Count what is kept."""
        with self._lock:
            if kept := [self._kept.popleft() for _ in range(len(self._kept))]:
                self._count(kept)


@dataclass
class MethodTally:
    """The calls of one method; `kind` is gRPC's: unary, server_stream, bidi_stream."""

    service: str
    method: str
    kind: str
    started: int = 0
    received: int = 0
    sent: int = 0
    handled: Counter[str] = field(default_factory=Counter)
    seconds: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    @property
    def open(self) -> int:
        """The number of calls that run."""
        return self.started - self.handled.total()


class ModelTally:
    """The scores of one model: S candidates of H steps each, and their timing."""

    def __init__(self) -> None:
        self.candidates = self.candidate_steps = 0
        self.stages = [Histogram(SECONDS) for _ in STAGES]
        self.scores: Later[tuple[int, int, Timing]] = Later(self._scored)

    def _scored(self, scores: list[tuple[int, int, Timing]]) -> None:
        self.candidates += sum(samples for samples, _, _ in scores)
        self.candidate_steps += sum(samples * horizon for samples, horizon, _ in scores)
        seconds = np.array([_microseconds(timing) for _, _, timing in scores]) * 1e-6
        for histogram, stage in zip(self.stages, seconds.T, strict=True):
            histogram.add_all(stage)


class Tally:
    """Everything that a server counts."""

    def __init__(self) -> None:
        self.methods: dict[str, MethodTally] = {}
        self.models: defaultdict[str, ModelTally] = defaultdict(ModelTally)
        self.errors: Counter[str] = Counter()
        self.batch_requests, self.batch_candidates = Histogram(REQUESTS), Histogram(CANDIDATES)
        self.batches: Later[tuple[int, int]] = Later(self._batched)
        self.ready = False

    def method(self, path: str, kind: str) -> MethodTally:
        """Return the counts of a method, `/package.Service/Method`."""
        _, service, method = path.split("/")
        return self.methods.setdefault(path, MethodTally(service, method, kind))

    @property
    def events(self) -> int:
        """The number of calls that began, and of messages that came and went."""
        return sum(each.started + each.received + each.sent for each in self.methods.values())

    def fold(self) -> None:
        """Count what was kept for later."""
        self.batches.fold()
        for model in list(self.models.values()):
            model.scores.fold()

    def _batched(self, batches: list[tuple[int, int]]) -> None:
        requests, candidates = np.array(batches, np.float64).T
        self.batch_requests.add_all(requests)
        self.batch_candidates.add_all(candidates)
