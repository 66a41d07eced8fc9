"""The runtimes of a server, one on each of its devices, and which of them a call goes to."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import Scene
from worldforge_jepa_server.runtime.operations import Runtime, Statistics


class Replicas:
    """Runtimes of the same models: each has an engine, a queue, a cache and contexts of its own.

    Args:
        runtimes: at least one.
    """

    def __init__(self, runtimes: Sequence[Runtime]) -> None:
        self._runtimes = runtimes
        self._streams: Counter[Runtime] = Counter()

    def __iter__(self) -> Iterator[Runtime]:
        return iter(self._runtimes)

    @property
    def idlest(self) -> Runtime:
        """The runtime with the least to do; of equal ones the first, whose cache knows most."""
        return min(self._runtimes, key=lambda each: (each.engine.pending, each.engine.admitted))

    def of(self, scene: Scene | str) -> Runtime:
        """Return the runtime for a call: the one that keeps its context, else the idlest."""
        keepers = (each for each in self._runtimes if isinstance(scene, str) and each.keeps(scene))
        return next(keepers, None) or self.idlest

    @contextlib.contextmanager
    def stream(self) -> Iterator[Runtime]:
        """Yield the runtime of a stream, which stays there: the one with the fewest streams, then the idlest."""
        runtime = min(self._runtimes, key=lambda each: (self._streams[each], each.engine.pending))
        self._streams[runtime] += 1
        try:
            yield runtime
        finally:
            self._streams[runtime] -= 1

    @property
    def pending(self) -> int:
        """How many jobs wait or run on all devices."""
        return sum(each.engine.pending for each in self._runtimes)

    def specs(self) -> list[ModelSpec]:
        """Return the specs of all models in service, the default one first; each names all devices that it is on."""
        return [self._everywhere(spec) for spec in self._runtimes[0].specs()]

    def spec(self, name: str) -> ModelSpec:
        """Return a model's spec, which names all devices that it is on."""
        return self._everywhere(self._runtimes[0].spec(name))

    def _everywhere(self, spec: ModelSpec) -> ModelSpec:
        if len(self._runtimes) == 1:
            return spec
        return replace(spec, device=",".join(each.spec(spec.name).device for each in self._runtimes))

    def expire(self) -> None:
        """Free cached latents and contexts that have not been used for too long."""
        for each in self._runtimes:
            each.expire()

    def statistics(self) -> Statistics:
        """Return the figures of all devices together; from any thread."""
        figures = zip(*(vars(each.statistics()).values() for each in self._runtimes), strict=True)
        return Statistics(*(reduce(add, each) for each in figures))

    def device_memory(self) -> dict[str, int]:
        """Return the bytes of all devices by kind, as `Runtime.device_memory` does."""
        total: Counter[str] = Counter()
        for each in self._runtimes:
            total.update(each.device_memory())
        return dict(total)
