"""The device's thread, and the queue before it. The event loop waits on neither: it asks for work and is told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar, cast

from worldforge_jepa_client.errors import ResourceExhaustedError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.scheduling.scheduler import Scheduler, Share, Task

_R = TypeVar("_R")
_Result = TypeVar("_Result", covariant=True)
_SMOOTHING = 0.2  # weight of the newest batch in the running mean of what a unit of cost takes
LEAST_COST = 1000  # what the smallest call counts in the queue: its message and its scene take room too


@dataclass(frozen=True)
class Caller:
    """Who asks, when he did, and until when he waits, in `time.perf_counter` seconds.

    `client` is what shares the device with others as one: a stream, or a connection with all its unary calls.
    """

    client: Hashable = None
    arrived: float = 0.0
    deadline: float = float("inf")


NOBODY = Caller()
"""Who asks where nobody does: the server itself."""


class Job(Protocol[_Result]):
    """Work for the device thread, on `size` candidates that cost `unit` each.

    Jobs with an equal `batch`, on the same model, run together, up to `chunk` candidates of them; None runs by itself.
    """

    size: int
    unit: int
    chunk: int
    batch: Hashable

    def run(self, pieces: Sequence[Piece]) -> Sequence[_Result | Exception | None]:
        """Run pieces of such jobs, on the device thread: a result or an error for each, None where more is to come."""


@dataclass(eq=False, kw_only=True)
class Entry(Task):
    """A job in the queue; `abandoned` is set once nobody waits for its result any more."""

    job: Any
    done: asyncio.Future[Any] = field(init=False)
    abandoned: threading.Event = field(default_factory=threading.Event)
    device_seconds: float = 0.0


Piece = Share[Entry]
"""The candidates of a job that run now."""


class Call(Generic[_R]):
    """A job that is one call of a function, which gets the event that is set once nobody waits any more."""

    def __init__(self, function: Callable[[threading.Event], _R], cost: int = 1) -> None:
        self._function = function
        self.size = self.chunk = 1
        self.unit = cost
        self.batch: Hashable = None

    def run(self, pieces: Sequence[Piece]) -> Sequence[_R]:
        """See `Job.run`."""
        return [self._function(piece.task.abandoned) for piece in pieces]


class Engine:
    """Runs jobs on the device: what waits when it is free goes as one batch, in the scheduler's order.

    Args:
        capacity: the cost, in candidates times horizon, of all calls accepted at a time; more are refused.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._accepted = 0
        self.pending = 0
        """How many jobs wait or run."""
        self._cost_seconds = 0.0
        self._busy = False
        self.running: tuple[Hashable, float] | None = None
        """The queue of the batch that runs and when it began, in `time.perf_counter` seconds."""
        self._scheduler: Scheduler[Entry] = Scheduler()
        self._batches: SimpleQueue[tuple[asyncio.AbstractEventLoop, list[Piece]] | None] = SimpleQueue()
        self._device = threading.Thread(target=self._work, name="device", daemon=True)
        self._device.start()

    @contextlib.contextmanager
    def accepted(self, cost: int) -> Iterator[None]:
        """Hold room in the queue for a call, from its start to its end, whatever it runs.

        An engine with nothing to do accepts any.

        Raises:
            ResourceExhaustedError: there is none; `retry_after` estimates when there will be.
        """
        cost = max(cost, LEAST_COST)
        excess = self._accepted + cost - self._capacity
        if self._accepted and excess > 0:
            raise ResourceExhaustedError(
                f"the queue holds {self._accepted} candidates x horizon of {self._capacity}; this call has {cost}",
                reason=Reason.QUEUE_FULL,
                retry_after=max(0.001, excess * self._cost_seconds),
            )
        self._accepted += cost
        try:
            yield
        finally:
            self._accepted -= cost

    async def run(self, job: Job[_R], queue: Hashable = None, caller: Caller = NOBODY) -> tuple[_R, float]:
        """Run a job when its turn comes; return its result and the seconds in which it waited.

        Cancelling the awaiting task takes the job off the queue, or tells it to stop by setting its event.
        """
        entry = _entry(job, queue, caller)
        entry.done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self.pending += 1
        self._scheduler.add(entry)
        self._dispatch()
        try:
            result = await entry.done
        finally:
            entry.abandoned.set()
            self._scheduler.discard(entry)
            self.pending -= 1
        return result, time.perf_counter() - began - entry.device_seconds

    def close(self, seconds: float | None = None) -> bool:
        """Drop what is queued and let the running batch end, within `seconds`; return whether it did."""
        self._busy = True
        while pieces := self._scheduler.take():
            for piece in pieces:
                piece.task.done.cancel()
        self._batches.put(None)
        self._device.join(seconds)
        return not self._device.is_alive()

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """On the device thread: run the next batch, and let go of all it held; False once the engine is closed."""
        batch = self._batches.get()
        if batch is None:
            return False
        loop, pieces = batch
        outcomes, seconds = _run(pieces)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._finished, pieces, outcomes, seconds)
        return True

    def _dispatch(self) -> None:
        """If the device is free, take what waits."""
        pieces = [] if self._busy else self._scheduler.take()
        if pieces:
            self._busy = True
            self.running = (pieces[0].task.queue, time.perf_counter())
            self._batches.put((asyncio.get_running_loop(), pieces))

    def _finished(self, pieces: list[Piece], outcomes: Sequence[Any], seconds: float) -> None:
        self._scheduler.charge(pieces[0].task.queue, seconds)
        cost = sum((piece.stop - piece.start) * piece.task.unit for piece in pieces)
        if cost > 1:  # it had candidates
            self._cost_seconds += _SMOOTHING * (seconds / cost - self._cost_seconds)
        for piece, outcome in zip(pieces, outcomes, strict=True):
            self._settle(piece, outcome, seconds)
        self._busy, self.running = False, None
        self._dispatch()

    def _settle(self, piece: Piece, outcome: Any, seconds: float) -> None:
        entry = piece.task
        entry.device_seconds += seconds
        if entry.done.done():
            return
        if isinstance(outcome, BaseException):
            self._scheduler.discard(entry)
            entry.done.set_exception(_raisable(outcome))
        elif piece.last:
            entry.done.set_result(outcome)


def run_here(job: Job[_R]) -> _R:
    """Run a job by itself in this thread, without an engine."""
    scheduler: Scheduler[Entry] = Scheduler()
    scheduler.add(_entry(job))
    result: Any = None
    while pieces := scheduler.take():
        ((result,), _) = _run(pieces)
        if isinstance(result, BaseException):
            raise result
    return cast(_R, result)


def _entry(job: Job[Any], queue: Hashable = None, caller: Caller = NOBODY) -> Entry:
    return Entry(queue, caller.client, job.size, job.unit, caller.deadline, job.batch, job.chunk, job=job)


def _run(pieces: list[Piece]) -> tuple[Sequence[Any], float]:
    """On the device thread: run a batch; an error of the whole batch is that of each piece."""
    began = time.perf_counter()
    try:
        outcomes = pieces[0].task.job.run(pieces)
    except BaseException as error:  # also SystemExit of a model's own code: the thread has others to serve
        outcomes = [error] * len(pieces)
    return outcomes, time.perf_counter() - began


def _raisable(error: BaseException) -> Exception:
    """What a future takes and no event loop stops for."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"{type(error).__name__} on the device thread")
    wrapped.__cause__ = error
    return wrapped
