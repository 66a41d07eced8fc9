"""Planning sessions for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from worldforge_jepa_client.contract.types import Scene, ScoreResult
from worldforge_jepa_client.errors import CallCancelledError, JepaError, UnavailableError
from worldforge_jepa_client.inputs.keywords import RequestKeywords
from worldforge_jepa_client.rpc.channel import deadline_after, remaining
from worldforge_jepa_client.rpc.operations import Steps
from worldforge_jepa_client.rpc.session import too_late
from worldforge_jepa_client.rpc.session_scene import SessionScene, goal_changes, observation_changes
from worldforge_jepa_client.rpc.stream_state import Exchange, Line, Request
from worldforge_jepa_client.wire.status import from_rpc_error

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class AsyncSession:
    """`Session` for asyncio: the same methods and arguments, awaited; see `AsyncClient.session`.

    Cancelling the task that awaits scores frees the device, as running out of time does.
    """

    def __init__(
        self,
        scene: SessionScene,
        run: Callable[[Steps[Any], float], Awaitable[Any]],
        open_stream: Callable[[Any], Any],
        *,
        target: str,
        timeout: float,
    ) -> None:
        self._scene, self._run, self._timeout = scene, run, timeout
        self._open_stream, self._target = open_stream, target
        self._exchange = Exchange(self._open_line, nullcontext())
        self._readers: set[asyncio.Task[None]] = set()

    @property
    def reconnects(self) -> int:
        """See `Session.reconnects`."""
        return self._exchange.reconnects

    async def score(
        self, action_candidates: object, *, timeout: float | None = None, **overrides: Unpack[RequestKeywords]
    ) -> ScoreResult:
        """See `Session.score`."""
        return await (await self.submit(action_candidates, timeout=timeout, **overrides))

    async def submit(
        self, action_candidates: object, *, timeout: float | None = None, **overrides: Unpack[RequestKeywords]
    ) -> asyncio.Future[ScoreResult]:
        """Send candidates; return the future of their scores. See `Session.submit`."""
        deadline = self._deadline(timeout)
        call = await self._run(self._scene.call_steps(action_candidates, overrides), remaining(deadline))
        loop = asyncio.get_running_loop()
        request = Request(call, loop.create_future())
        while (oldest := self._exchange.submit(request)) is not None:
            done, _ = await asyncio.wait([oldest], timeout=remaining(deadline))
            if not done:
                raise too_late()
        timer = loop.call_later(remaining(deadline), self._exchange.give_up, request, too_late())

        def finished(future: asyncio.Future[ScoreResult]) -> None:
            timer.cancel()
            if future.cancelled():
                self._exchange.give_up(request, CallCancelledError("the request was cancelled"))

        request.future.add_done_callback(finished)
        future: asyncio.Future[ScoreResult] = request.future
        return future

    async def observe(
        self, observation: object, action_history: object = None, *, timeout: float | None = None
    ) -> None:
        """See `Session.observe`."""
        await self._change(observation_changes(observation, action_history), timeout)

    async def set_goal(self, goal: object, *, timeout: float | None = None) -> None:
        """See `Session.set_goal`."""
        await self._change(goal_changes(goal), timeout)

    async def close(self) -> None:
        """See `Session.close`."""
        self._exchange.close()
        if self._readers:
            await asyncio.wait(self._readers)

    async def __aenter__(self) -> Self:
        await self._run(self._scene.check_steps(), self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _change(self, changes: Scene, timeout: float | None) -> None:
        await self._run(self._scene.change_steps(changes), remaining(self._deadline(timeout)))

    def _deadline(self, timeout: float | None) -> float:
        return deadline_after(self._timeout if timeout is None else timeout)

    def _open_line(self, exchange: Exchange) -> Line:
        outgoing: asyncio.Queue[Any] = asyncio.Queue()
        responses = self._open_stream(_messages(outgoing))

        def cancel() -> None:
            responses.cancel()
            outgoing.put_nowait(None)  # ends what gRPC reads from

        line = Line(outgoing.put_nowait, cancel)
        reader = asyncio.create_task(_read(exchange, line, responses, self._target))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        return line


async def _messages(outgoing: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (message := await outgoing.get()) is not None:
        yield message


async def _read(exchange: Exchange, line: Line, responses: Any, target: str) -> None:
    error: JepaError = UnavailableError(f"{target}: the server ended the stream")
    try:
        while (response := await responses.read()) is not grpc.aio.EOF:
            exchange.answer(line, response)
    except grpc.RpcError as broken:
        error = from_rpc_error(broken, target)
    except asyncio.CancelledError:
        error = CallCancelledError("the stream was cancelled")
        raise
    finally:
        exchange.ended(line, error)
