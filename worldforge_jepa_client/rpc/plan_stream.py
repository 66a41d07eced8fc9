"""Plans as they come from the server: iterate over the progress, or wait for the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import PlanProgress, Timing
from worldforge_jepa_client.errors import CallCancelledError, DeadlineExceededError, InternalError, JepaError
from worldforge_jepa_client.wire.status import from_rpc_error


@dataclass(frozen=True)
class Plan:
    """What a planner came to; arrays are float32 (H, A), in the model's normalized actions.

    `actions` are to be executed: the centre of the planner's last distribution. `best_actions` is the best candidate
    of all iterations, and `score` its score. `complete` says whether all iterations were done, or the deadline or a
    cancel ended them early. `timing` is the last iteration's.
    """

    actions: NDArray[np.float32]
    best_actions: NDArray[np.float32]
    score: float
    iterations: int
    complete: bool
    timing: Timing


class _Progress:
    """How far a plan has come, and whether its end is an error."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._cancelled = False
        self.latest: PlanProgress | None = None
        """The plan after the last iteration that has been read; None before the first."""

    def _note(self, response: Any) -> PlanProgress:
        self.latest = wire.plan_progress(response)
        return self.latest

    def _stop(self, error: JepaError) -> None:
        """Raise the error, unless it leaves a plan to return: the deadline and a cancel do."""
        if self.latest is None or not isinstance(error, (DeadlineExceededError, CallCancelledError)):
            raise error

    def _cancel_error(self) -> JepaError:
        return CallCancelledError("the plan was cancelled")

    def _plan(self) -> Plan:
        last = self.latest
        if last is None:
            raise InternalError(f"{self._target}: the server ended the plan before its first iteration")
        return Plan(
            actions=last.mean,
            best_actions=last.best_actions,
            score=last.best_score,
            iterations=last.iteration,
            complete=last.iteration == last.iterations,
            timing=last.timing,
        )


class Planning(_Progress, Iterator[PlanProgress]):
    """A plan in the making: an iterator over `PlanProgress`, one each iteration. See `Client.plan`.

    Iteration ends with the plan, at the deadline, or after `cancel`; where there is no progress by then it raises.
    """

    def __init__(self, responses: Any, target: str) -> None:
        super().__init__(target)
        self._responses = responses

    def __next__(self) -> PlanProgress:
        try:
            return self._note(next(self._responses))
        except grpc.RpcError as error:
            self._stop(self._cancel_error() if self._cancelled else from_rpc_error(error, self._target))
            raise StopIteration from None

    def result(self) -> Plan:
        """Wait for the last iteration; the best plan so far where the deadline or a cancel comes first.

        Raises:
            JepaError: the call failed, or ended before the first iteration.
        """
        for _ in self:
            pass
        return self._plan()

    def cancel(self) -> None:
        """Stop planning and free the device; `result` returns the best plan so far."""
        self._cancelled = True
        self._responses.cancel()


class AsyncPlanning(_Progress, AsyncIterator[PlanProgress]):
    """`Planning` for asyncio: `async for progress in planning`, or `await planning.result()`.

    The call starts when it is first awaited.
    """

    def __init__(self, start: Callable[[], Awaitable[Any]], target: str) -> None:
        super().__init__(target)
        self._start = start
        self._responses: Any = None

    async def __anext__(self) -> PlanProgress:
        try:
            response = await self._read()
        except grpc.RpcError as error:
            self._stop(from_rpc_error(error, self._target))
            raise StopAsyncIteration from None
        except asyncio.CancelledError:
            if not self._cancelled:  # it is the awaiting task that was cancelled, and gRPC ends the call with it
                self._cancelled = True
                raise
            self._stop(self._cancel_error())
            raise StopAsyncIteration from None
        if response is grpc.aio.EOF:
            raise StopAsyncIteration
        return self._note(response)

    async def result(self) -> Plan:
        """See `Planning.result`."""
        async for _ in self:
            pass
        return self._plan()

    def cancel(self) -> None:
        """See `Planning.cancel`."""
        self._cancelled = True
        if self._responses is not None:
            self._responses.cancel()

    async def _read(self) -> Any:
        if self._responses is None:
            if self._cancelled:
                raise asyncio.CancelledError
            self._responses = await self._start()
        return await self._responses.read()
