"""Order in which waiting tasks run on the device, and in which batches. Pure policy: no torch, no clock, no threads.

Queues, one per model, share the device by the time they use. Within a queue, clients share by cost, and the flows of a
client, such as its streams, share its part. Within a flow the earliest deadline goes first; equal deadlines go in order
of arrival. A batch is the next task plus
whatever else waits for the same kind of work and fits beside it, in the order of turns. A task larger than a batch is
cut into slices, and other tasks run between them.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar


@dataclass(eq=False, kw_only=True)
class Task:
    """Work on `size` candidates.

    Attributes:
        queue: the model it runs on.
        client: asked for it.
        flow: the stream of the client, or its unary calls.
        size: candidates.
        cost_per_candidate: its share of a flow's cost, e.g. the horizon.
        deadline: orders the tasks of a flow, in seconds of any clock.
        batch: tasks of one queue with an equal key may run together; None runs by itself.
        chunk: most candidates of a batch that this task leads.
        taken: candidates that are already in a batch.
    """

    queue: Hashable = None
    client: Hashable = None
    flow: Hashable = None
    size: int = 1
    cost_per_candidate: int = 1
    deadline: float = float("inf")
    batch: Hashable = None
    chunk: int = 1
    taken: int = 0


_T = TypeVar("_T", bound=Task)


@dataclass(frozen=True)
class Slice(Generic[_T]):
    """Candidates `start` to `stop` - 1 of a task, in one batch; `last` if none are left after them."""

    task: _T
    start: int
    stop: int
    last: bool


class FairShares:
    """Start-time fair queueing (Goyal, Vin and Cheng 1996): the name that has used least goes next.

    An idle name gains no credit; on return it starts at the current virtual time.
    """

    def __init__(self) -> None:
        self._used: dict[Hashable, float] = {}
        self._now = 0.0

    def used(self, name: Hashable) -> float:
        """Return the virtual time of `name`; the least goes next."""
        return max(self._used.get(name, 0.0), self._now)

    def begin(self, name: Hashable) -> None:
        """Give `name` its turn: virtual time moves to its own, and names that are behind lose their entry."""
        self._now = self.used(name)
        self._used = {name: used for name, used in self._used.items() if used > self._now}

    def charge(self, name: Hashable, cost: float) -> None:
        """Add `cost` to what `name` has used."""
        self._used[name] = self.used(name) + cost


class Scheduler(Generic[_T]):
    """Waiting tasks, and the order in which they run."""

    def __init__(self) -> None:
        self._queues: defaultdict[Hashable, _Queue[_T]] = defaultdict(_Queue)
        self._seconds = FairShares()

    def add(self, task: _T) -> None:
        """Queue a task."""
        queue = self._queues[task.queue]
        insort(queue.flows.setdefault((task.client, task.flow), []), (task.deadline, next(queue.arrivals), task))

    def discard(self, task: _T) -> None:
        """Remove a task if it waits; candidates that are not in a batch yet never will be."""
        flows, flow = self._queues[task.queue].flows, (task.client, task.flow)
        rest = [entry for entry in flows.pop(flow, ()) if entry[-1] is not task]
        if rest:
            flows[flow] = rest

    def take(self) -> list[Slice[_T]]:
        """Return the next batch; empty if nothing waits."""
        waiting = [name for name, queue in self._queues.items() if queue.flows]
        if not waiting:
            return []
        name = min(waiting, key=self._seconds.used)
        self._seconds.begin(name)
        return self._queues[name].take()

    def charge(self, queue: Hashable, seconds: float) -> None:
        """Charge a queue the seconds that its batch used the device."""
        self._seconds.charge(queue, seconds)


_Flow = tuple[Hashable, Hashable]
"""A client and a flow of it."""


class _Queue(Generic[_T]):
    """The tasks of one model: by flow, each flow in the order of deadlines."""

    def __init__(self) -> None:
        self.flows: dict[_Flow, list[tuple[float, int, _T]]] = {}
        self.arrivals = count()
        self._clients = FairShares()
        self._streams: defaultdict[Hashable, FairShares] = defaultdict(FairShares)

    def take(self) -> list[Slice[_T]]:
        turns = [(self._turn(flow), number, flow) for number, flow in enumerate(self.flows)]
        heapq.heapify(turns)
        lead = self.flows[turns[0][-1]][0][-1]
        self._begin(turns[0][-1])
        slices: list[Slice[_T]] = []
        room = lead.chunk
        while turns and room > 0:
            turn, number, flow = heapq.heappop(turns)
            if slices and turn < self._turn(flow):  # its client has used more meanwhile
                heapq.heappush(turns, (self._turn(flow), number, flow))
                continue
            task = self.flows[flow][0][-1]
            size = min(task.chunk, task.size - task.taken)
            if slices and (task.batch != lead.batch or size > room):
                continue
            slices.append(self._cut(task, size))
            room -= size
            if lead.batch is None:
                break
            if slices[-1].last and flow in self.flows:  # at most one slice of each task
                heapq.heappush(turns, (self._turn(flow), number, flow))
        return slices

    def _turn(self, flow: _Flow) -> tuple[float, float]:
        """Return what the client has used, and what the flow has used of that; the least goes next."""
        client, stream = flow
        return self._clients.used(client), self._streams[client].used(stream)

    def _begin(self, flow: _Flow) -> None:
        """Give a client and its flow their turn; a client that does not wait loses the shares of its flows."""
        client, stream = flow
        self._clients.begin(client)
        self._streams[client].begin(stream)
        waiting = {client for client, _ in self.flows}
        for client in self._streams.keys() - waiting:
            del self._streams[client]

    def _cut(self, task: _T, size: int) -> Slice[_T]:
        """Take `size` candidates off a task, the first of its flow."""
        start, flow = task.taken, (task.client, task.flow)
        task.taken += size
        for shares, name in ((self._clients, task.client), (self._streams[task.client], task.flow)):
            shares.charge(name, size * task.cost_per_candidate)
        done = task.taken == task.size
        if done:
            rest = self.flows.pop(flow)[1:]
            if rest:
                self.flows[flow] = rest  # last in line among flows that have used as much
        return Slice(task, start, task.taken, done)
