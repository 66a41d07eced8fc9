"""Runs jobs on one device thread. The event loop submits a job and awaits a future; it never blocks."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from worldforge_jepa_client.errors import ResourceExhaustedError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.scheduling.scheduler import Scheduler, Slice, Task

_R = TypeVar("_R")
_SMOOTHING = 0.2  # weight of the newest batch in the running mean of seconds per unit of cost
LEAST_COST = 1000
"""Least cost of a call in the queue: its message and its scene take room too."""


@dataclass(frozen=True)
class Caller:
    """The client of a call, its arrival and its deadline, in `time.perf_counter` seconds.

    Clients share the device, and the streams of a client its part; unary calls are one more stream, None.
    """

    client: Hashable = None
    arrived: float = 0.0
    deadline: float = float("inf")
    stream: Hashable = None


SERVER = Caller()
"""The caller of work that the server does for itself."""


class CancelToken:
    """Set once its caller has gone; an Event would bring a lock and a condition, and nothing waits for it."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Mark the caller as gone."""
        self._set = True

    def is_set(self) -> bool:
        """Return whether the caller has gone."""
        return self._set


class Runner(Protocol):
    """Runs batches on the device thread."""

    def run(self, slices: Sequence[Slice[Any]], /) -> Sequence[Any]:
        """Return one outcome for each slice: the job's result, an error, or None before the job's last slice."""


@dataclass(eq=False, kw_only=True)
class Job(Task, Generic[_R]):
    """Work for the device thread, with the result `_R`; `runner` runs it, together with jobs of an equal `batch`.

    Attributes:
        runner: runs slices of this job.
        done: gets the result.
        cancelled: set when the caller has gone.
        device_seconds: how long the batches took that this job was part of.
    """

    runner: Runner
    done: asyncio.Future[_R] = field(init=False)
    cancelled: CancelToken = field(default_factory=CancelToken)
    device_seconds: float = 0.0


class FunctionJob(Job[_R]):
    """A job that is one call of a function, which takes the job's cancel token."""

    def __init__(self, function: Callable[[CancelToken], _R], cost: int = 1) -> None:
        super().__init__(runner=_FUNCTIONS, cost_per_candidate=cost)
        self.function = function


class _FunctionRunner:
    def run(self, slices: Sequence[Slice[FunctionJob[Any]]]) -> list[Any]:
        return [each.task.function(each.task.cancelled) for each in slices]


_FUNCTIONS = _FunctionRunner()


class Engine:
    """Runs jobs on the device: what waits when the device is free goes as one batch, in the scheduler's order.

    Args:
        capacity: cost, in candidates times horizon, of all admitted calls; more are refused.

    Attributes:
        admitted: their cost now.
        pending: how many jobs wait or run.
        on_batch: called on the event loop after each batch, with its requests and its candidates.
    """

    def __init__(self, capacity: int) -> None:
        self.pending = 0
        self.on_batch: Callable[[tuple[int, int]], None] = lambda _: None
        self.capacity = capacity
        self.admitted = 0
        self._cost_seconds = 0.0
        self._busy = False
        self.running: tuple[Hashable, float] | None = None
        """The queue of the batch that runs and when it began, in `time.perf_counter` seconds."""
        self._scheduler: Scheduler[Job[Any]] = Scheduler()
        self._batches: SimpleQueue[tuple[asyncio.AbstractEventLoop, list[Slice[Job[Any]]]] | None] = SimpleQueue()
        self._device = threading.Thread(target=self._work, name="device", daemon=True)
        self._device.start()

    @contextlib.contextmanager
    def admit(self, cost: int, *, begun: bool = False) -> Iterator[None]:
        """Hold room in the queue while a call, or a part of one, waits and runs; an idle engine admits any call.

        A later part of a call that has `begun` counts, but is not refused: its answers so far would be lost.

        Raises:
            ResourceExhaustedError: the queue is full; `retry_after` estimates when it will have room.
        """
        cost = max(cost, LEAST_COST)
        excess = self.admitted + cost - self.capacity
        if self.admitted and excess > 0 and not begun:
            raise ResourceExhaustedError(
                f"the queue holds {self.admitted} candidates x horizon of {self.capacity}; this call has {cost}",
                reason=Reason.QUEUE_FULL,
                retry_after=max(0.001, excess * self._cost_seconds),
            )
        self.admitted += cost
        try:
            yield
        finally:
            self.admitted -= cost

    async def run(self, job: Job[_R], queue: Hashable = None, caller: Caller = SERVER) -> tuple[_R, float]:
        """Run a job when its turn comes; return its result and the seconds it waited.

        Cancelling the awaiting task removes the job from the queue, or sets its cancel token.
        """
        began = time.perf_counter()
        job.queue, job.client, job.flow, job.deadline = queue, caller.client, caller.stream, caller.deadline
        job.done = asyncio.get_running_loop().create_future()
        self.pending += 1
        self._scheduler.add(job)
        self._dispatch()
        try:
            result = await job.done
        except BaseException:
            job.cancelled.set()
            self._scheduler.discard(job)
            raise
        finally:
            self.pending -= 1
        return result, time.perf_counter() - began - job.device_seconds

    def close(self, seconds: float | None = None) -> bool:
        """Cancel queued jobs and let the running batch end, within `seconds`; return whether it did."""
        self._busy = True
        while slices := self._scheduler.take():
            for each in slices:
                each.task.done.cancel()
        self._batches.put(None)
        self._device.join(seconds)
        return not self._device.is_alive()

    def _work(self) -> None:
        while self._run_batch():
            pass

    def _run_batch(self) -> bool:
        """Run the next batch on the device thread, and drop all references to it; False once the engine is closed."""
        batch = self._batches.get()
        if batch is None:
            return False
        loop, slices = batch
        began = time.perf_counter()
        outcomes: Sequence[Any]
        try:
            outcomes = slices[0].task.runner.run(slices)
        except BaseException as error:  # including SystemExit of a model's code: the thread has other jobs to run
            outcomes = [error] * len(slices)
        seconds = time.perf_counter() - began
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._finish, slices, outcomes, seconds)
        return True

    def _dispatch(self) -> None:
        """Hand the next batch to the device thread, if that is free."""
        slices = [] if self._busy else self._scheduler.take()
        if slices:
            self._busy = True
            self.running = (slices[0].task.queue, time.perf_counter())
            self._batches.put((asyncio.get_running_loop(), slices))

    def _finish(self, slices: list[Slice[Job[Any]]], outcomes: Sequence[Any], seconds: float) -> None:
        """Resolve the futures of a batch, and start the next one."""
        self._scheduler.charge(slices[0].task.queue, seconds)
        cost = sum((each.stop - each.start) * each.task.cost_per_candidate for each in slices)
        if cost > 1:  # it had candidates
            self.on_batch((len(slices), sum(each.stop - each.start for each in slices)))
            self._cost_seconds += _SMOOTHING * (seconds / cost - self._cost_seconds)
        for each, outcome in zip(slices, outcomes, strict=True):
            job = each.task
            job.device_seconds += seconds
            if job.done.done():
                continue
            if isinstance(outcome, BaseException):
                job.done.set_exception(_raisable(outcome))
                self._scheduler.discard(job)
            elif each.last:
                job.done.set_result(outcome)
        self._busy, self.running = False, None
        self._dispatch()


def _raisable(error: BaseException) -> Exception:
    """Return an error that a future takes and that stops no event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"{type(error).__name__} on the device thread")
    wrapped.__cause__ = error
    return wrapped
