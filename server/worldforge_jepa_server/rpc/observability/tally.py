"""Counts of what a server did, cheap enough for every message: written by the event loop, read by the exporter."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from worldforge_jepa_client.contract.types import Timing

SECONDS = tuple(0.001 * 2.0**n for n in range(-4, 16))
"""Upper bounds of times: 1 ms x 2^n, from 62.5 us to 33 s."""
REQUESTS = tuple(2**n for n in range(8))
CANDIDATES = tuple(4**n for n in range(10))
STAGES = ("queue", "decode", "encode", "unroll", "distance", "total")
"""The fields of `Timing`, in their order."""


class Histogram:
    """Counts of values up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


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
    """The scores of one model."""

    def __init__(self) -> None:
        self.candidates = self.candidate_steps = 0
        self.stages = [Histogram(SECONDS) for _ in STAGES]

    def scored(self, samples: int, horizon: int, timing: Timing) -> None:
        """Count S candidates of H steps."""
        self.candidates += samples
        self.candidate_steps += samples * horizon
        spent = (
            timing.queue_us,
            timing.decode_us,
            timing.encode_us,
            timing.unroll_us,
            timing.distance_us,
            timing.total_us,
        )
        for histogram, microseconds in zip(self.stages, spent, strict=True):
            histogram.add(microseconds * 1e-6)


class Tally:
    """Everything that a server counts."""

    def __init__(self) -> None:
        self.methods: dict[str, MethodTally] = {}
        self.models: defaultdict[str, ModelTally] = defaultdict(ModelTally)
        self.errors: Counter[str] = Counter()
        self.batch_requests, self.batch_candidates = Histogram(REQUESTS), Histogram(CANDIDATES)
        self.ready = False

    def method(self, path: str, kind: str) -> MethodTally:
        """Return the counts of a method, `/package.Service/Method`."""
        _, service, method = path.split("/")
        return self.methods.setdefault(path, MethodTally(service, method, kind))

    def batched(self, requests: int, candidates: int) -> None:
        """Count a batch of the device."""
        self.batch_requests.add(requests)
        self.batch_candidates.add(candidates)
