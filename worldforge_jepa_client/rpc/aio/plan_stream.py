"""A plan as it comes from the server: an iterator over the progress, and the result."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from worldforge_jepa_client.contract.types import PlanProgress, PlanResult
from worldforge_jepa_client.errors import CallCancelledError, JepaError
from worldforge_jepa_client.rpc.aio.connection import Responses
from worldforge_jepa_client.rpc.plan_state import PlanState


class AsyncPlanStream(AsyncIterator[PlanProgress]):
    """A running plan: an iterator over `PlanProgress`, one each iteration. See `AsyncClient.plan`.

    The call starts when the first progress or the result is asked for. Iteration ends with the plan, at the deadline,
    or after `cancel`; it raises where there is no progress by then.
    """

    def __init__(self, start: Callable[[], Awaitable[Responses]]) -> None:
        self._start = start
        self._responses: Responses | None = None
        self._cancelled = False
        self._state = PlanState()

    @property
    def latest(self) -> PlanProgress | None:
        """The plan after the last iteration that was read; None before the first."""
        return self._state.latest

    async def __anext__(self) -> PlanProgress:
        try:
            response = await (await self._started()).read()
        except JepaError as error:
            self._state.stop(error)
            raise StopAsyncIteration from None
        if response is None:
            raise StopAsyncIteration
        return self._state.note(response)

    async def result(self) -> PlanResult:
        """Wait for the last iteration; the best plan so far where the deadline or a cancel comes first.

        Raises:
            JepaError: the call failed, or ended before the first iteration.
        """
        async for _ in self:
            pass
        return self._state.result()

    def cancel(self) -> None:
        """Stop planning and free the device; `result` returns the best plan so far."""
        self._cancelled = True
        if self._responses is not None:
            self._responses.cancel()

    async def _started(self) -> Responses:
        if self._responses is None:
            if self._cancelled:
                raise CallCancelledError("the plan was cancelled")
            self._responses = await self._start()
            if self._cancelled:  # meanwhile
                self._responses.cancel()
        return self._responses
