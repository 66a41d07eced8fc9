"""An LRU cache bounded in bytes, with an age limit: it holds contexts and latents.

Torch-free: values are opaque and come with their size. Safe to use from the event loop and the device thread at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass
class _Entry(Generic[V]):
    value: V
    size: int
    expires: float
    users: int = 0


class Cache(Generic[V]):
    """Values by key, until they are too old or their room is needed.

    Args:
        max_bytes: of all values together; what is in use stays even if it alone exceeds them.
        ttl: seconds a value lives after its last use.
        clock: seconds, rising.
    """

    def __init__(self, max_bytes: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ttl = ttl
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[Hashable, _Entry[V]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Keep a value of `size` bytes, evicting the least recently used ones that are not in use."""
        with self._lock:
            self._remove(key)
            self._entries[key] = _Entry(value, size, self._clock() + self.ttl)
            self._bytes += size
            self._evict(keep=key)

    def get(self, key: Hashable) -> V | None:
        """Return a value and renew its time to live; None if there is none."""
        with self._lock:
            entry = self._live(key)
            return entry.value if entry else None

    @contextlib.contextmanager
    def using(self, key: Hashable) -> Iterator[V | None]:
        """Yield a value, or None; while it is used it is neither evicted nor does it expire."""
        with self._lock:
            entry = self._live(key)
            if entry:
                entry.users += 1
        try:
            yield entry.value if entry else None
        finally:
            if entry:
                with self._lock:
                    entry.users -= 1
                    entry.expires = self._clock() + self.ttl
                    self._evict()

    def delete(self, key: Hashable) -> bool:
        """Forget a value; return True if there was one. Its current users keep it."""
        with self._lock:
            known = self._live(key) is not None
            self._remove(key)
            return known

    def expire(self) -> None:
        """Drop values that are too old, to free their memory while no calls come."""
        with self._lock:
            self._evict()

    @property
    def bytes(self) -> int:
        """The size of all values."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._entries)

    def _live(self, key: Hashable) -> _Entry[V] | None:
        entry = self._entries.get(key)
        if entry is None or self._expired(entry):
            return None
        entry.expires = self._clock() + self.ttl
        self._entries.move_to_end(key)
        return entry

    def _evict(self, keep: Hashable = None) -> None:
        excess, victims = self._bytes - self._max_bytes, []
        for key, entry in self._entries.items():
            if entry.users or key == keep:
                continue
            if excess <= 0 and not self._expired(entry):
                break  # the rest was used later
            victims.append(key)
            excess -= entry.size
        for key in victims:
            self._remove(key)

    def _expired(self, entry: _Entry[V]) -> bool:
        return not entry.users and entry.expires <= self._clock()

    def _remove(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry:
            self._bytes -= entry.size
