"""Who goes next on the device, and with whom. Pure policy: no torch, no clock, no threads.

Queues, one for each model, share the device by the time they use. Within a queue flows, one for each client, share by
cost. Within a flow the earliest deadline goes first, and of equal ones the one that came first. What goes is a batch:
the next task, and whatever else waits for the same kind of work and fits beside it, in the order of its turns. A task
larger than a batch is cut, and others go between its pieces.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar


@dataclass(eq=False)
class Task:
    """Work on `size` candidates, each of which costs `unit`.

    Tasks of one queue and an equal `batch` may run together, `chunk` candidates at most; None runs by itself.
    """

    queue: Hashable
    flow: Hashable
    size: int = 1
    unit: int = 1
    deadline: float = float("inf")
    batch: Hashable = None
    chunk: int = 1
    taken: int = 0


_T = TypeVar("_T", bound=Task)


@dataclass(frozen=True)
class Share(Generic[_T]):
    """The candidates of a task, from `start` to `stop` - 1, that are in a batch."""

    task: _T
    start: int
    stop: int

    @property
    def last(self) -> bool:
        """Whether nothing of the task is left."""
        return self.stop == self.task.size


class FairShares:
    """Start-time fair queueing (Goyal, Vin and Cheng 1996): who has used least goes next.

    Who was away has not saved up for it: he comes back beside the one whose turn it is.
    """

    def __init__(self) -> None:
        self._used: dict[Hashable, float] = {}
        self._now = 0.0

    def used(self, name: Hashable) -> float:
        """What `name` has used; the least goes next."""
        return max(self._used.get(name, 0.0), self._now)

    def begin(self, name: Hashable) -> None:
        """It is the turn of `name`."""
        self._now = self.used(name)
        self._used = {name: used for name, used in self._used.items() if used > self._now}

    def charge(self, name: Hashable, cost: float) -> None:
        """`name` has used `cost` more."""
        self._used[name] = self.used(name) + cost


class Scheduler(Generic[_T]):
    """Tasks that wait, and the order in which they go."""

    def __init__(self) -> None:
        self._queues: dict[Hashable, _Queue[_T]] = {}
        self._seconds = FairShares()

    def add(self, task: _T) -> None:
        """Let a task wait."""
        self._queues.setdefault(task.queue, _Queue()).add(task)

    def discard(self, task: _T) -> None:
        """Take a task out, if it waits: what has not been taken of it never will be."""
        if task.queue in self._queues:
            self._queues[task.queue].discard(task)

    def take(self) -> list[Share[_T]]:
        """The next batch; empty where nothing waits."""
        waiting = [name for name, queue in self._queues.items() if queue.flows]
        if not waiting:
            return []
        name = min(waiting, key=self._seconds.used)
        self._seconds.begin(name)
        return self._queues[name].take()

    def charge(self, queue: Hashable, seconds: float) -> None:
        """The batch of a queue has used the device for so long."""
        self._seconds.charge(queue, seconds)


class _Queue(Generic[_T]):
    """The tasks of one model: by flow, each flow in the order of deadlines."""

    def __init__(self) -> None:
        self.flows: dict[Hashable, list[tuple[float, int, _T]]] = {}
        self._costs = FairShares()
        self._arrivals = count()

    def add(self, task: _T) -> None:
        insort(self.flows.setdefault(task.flow, []), (task.deadline, next(self._arrivals), task))

    def discard(self, task: _T) -> None:
        rest = [entry for entry in self.flows.pop(task.flow, []) if entry[-1] is not task]
        if rest:
            self.flows[task.flow] = rest

    def take(self) -> list[Share[_T]]:
        turns = [(self._costs.used(flow), number, flow) for number, flow in enumerate(self.flows)]
        heapq.heapify(turns)
        lead = self._next(turns[0][-1])
        self._costs.begin(lead.flow)
        shares: list[Share[_T]] = []
        room = lead.chunk
        while turns and room > 0:
            _, number, flow = heapq.heappop(turns)
            task = self._next(flow)
            size = min(task.chunk, task.size - task.taken)
            if shares and (task.batch != lead.batch or size > room):
                continue
            shares.append(self._cut(task, size))
            room -= size
            if lead.batch is None:
                break
            if shares[-1].last and flow in self.flows:  # of each task at most one piece
                heapq.heappush(turns, (self._costs.used(flow), number, flow))
        return shares

    def _next(self, flow: Hashable) -> _T:
        return self.flows[flow][0][-1]

    def _cut(self, task: _T, size: int) -> Share[_T]:
        share = Share(task, task.taken, task.taken + size)
        task.taken = share.stop
        self._costs.charge(task.flow, size * task.unit)
        if share.last:
            self.discard(task)
        return share
