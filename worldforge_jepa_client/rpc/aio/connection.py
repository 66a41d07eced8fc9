"""The asyncio side of a client's I/O: calls and streams on one channel, each failure a JepaError.

Its counterpart is `rpc.sync.connection`; everything above the two is written once.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import grpc
import grpc.aio

from worldforge_jepa_client.errors import CallCancelledError, FailedPreconditionError, InternalError, JepaError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.channel import ChannelOptions, make_channel, remaining
from worldforge_jepa_client.rpc.credentials import Credentials
from worldforge_jepa_client.rpc.failures import client_closed, client_forked, failed_call, stream_ended, unparsable
from worldforge_jepa_client.rpc.stream_state import OpenStream, RequestPipeline
from worldforge_jepa_client.shm.channel import SharedAioChannel
from worldforge_jepa_client.shm.segments import Segments
from worldforge_jepa_client.v1 import jepa_pb2_grpc

Lock = nullcontext
sleep = asyncio.sleep


class Connection:
    """Calls a server in one event loop: that of the first call, which makes the channel."""

    def __init__(
        self,
        target: str,
        *,
        shared_memory: bool,
        credentials: Credentials,
        options: ChannelOptions,
        channel: Any,
    ) -> None:
        self.target = target
        self._segments = Segments() if shared_memory else None
        self._pid, self._closed = os.getpid(), False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._metadata = credentials.call_metadata()
        self._credentials = credentials.channel_credentials() if channel is None else None
        self._options, self._channel = options, channel
        self._stub: Any = None
        self._calls: set[Any] = set()

    async def call(self, method: str, request: Any, deadline: float) -> Any:
        """Return the response of a unary call."""
        call = self._track(self._method(method)(request, timeout=remaining(deadline)))
        try:
            return self.parsed(await call)
        except grpc.RpcError as error:
            raise self.failure(error) from None
        except asyncio.CancelledError:
            self.raise_if_closed()
            raise

    def stream(self, method: str, request: Any, deadline: float) -> Responses:
        """Start a call with a stream of responses."""
        return Responses(self, self._track(self._method(method)(request, timeout=remaining(deadline))))

    def open(self, requests: AsyncIterator[Any]) -> Any:
        """Start a call with a stream in both directions."""
        return self._track(self._method("ScoreStream")(requests))

    async def close(self) -> None:
        """End what is running with CallCancelledError, and close the channel."""
        self._closed = True
        if self._channel is None or self._pid != os.getpid():
            return
        for call in list(self._calls):
            call.cancel()
        await self._channel.close()

    def check(self) -> None:
        """Raise a JepaError where this process or event loop cannot use the connection."""
        self.raise_if_closed()
        if self._pid != os.getpid():
            raise client_forked()
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise FailedPreconditionError(
                "the client was used in another event loop; make a client in each", reason=Reason.OTHER_EVENT_LOOP
            )
        self._loop = loop

    def raise_if_closed(self) -> None:
        """Raise CallCancelledError where the client was closed."""
        if self._closed:
            raise client_closed() from None

    def parsed(self, response: Any) -> Any:
        """Return a response; InternalError for None, which grpc.aio makes of one that it cannot parse."""
        if response is None:
            raise unparsable(self.target)
        return response

    def failure(self, error: grpc.RpcError) -> JepaError:
        """Return the JepaError of a failed call."""
        return self.outcome(failed_call(error, self.target))

    def outcome(self, error: JepaError) -> JepaError:
        """Return an error, or that of a closed client, which explains it."""
        return client_closed() if self._closed else error

    def _method(self, name: str) -> Any:
        self.check()
        if self._stub is None:
            channel = self._channel or make_channel(self.target, self._credentials, self._options, module=grpc.aio)
            self._channel = SharedAioChannel(channel, self._segments) if self._segments else channel
            self._stub = jepa_pb2_grpc.WorldModelServiceStub(self._channel)
        return partial(getattr(self._stub, name), metadata=self._metadata)

    def _track(self, call: Any) -> Any:
        self._calls.add(call)
        call.add_done_callback(lambda _: self._calls.discard(call))
        return call


class Responses:
    """The responses of one call."""

    def __init__(self, connection: Connection, call: Any) -> None:
        self._connection, self._call, self._cancelled = connection, call, False

    async def read(self) -> Any:
        """Return the next response, None at the end.

        Raises:
            JepaError: the call failed; CallCancelledError after `cancel` or the client's `close`.
        """
        try:
            response = await self._call.read()
        except grpc.RpcError as error:
            raise self._connection.failure(error) from None
        except asyncio.CancelledError:
            self._connection.raise_if_closed()
            if self._cancelled:
                raise CallCancelledError("the call was cancelled") from None
            self._cancelled = True  # the awaiting task was cancelled, and gRPC ends the call with it
            raise
        return None if response is grpc.aio.EOF else self._connection.parsed(response)

    def cancel(self) -> None:
        """End the call."""
        self._cancelled = True
        self._call.cancel()


class Streams:
    """Opens the streams of one session, each read by a task of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._readers: set[asyncio.Task[None]] = set()

    def open(self, pipeline: RequestPipeline) -> OpenStream:
        """Open a stream that reports to the pipeline."""
        outgoing: asyncio.Queue[Any] = asyncio.Queue()
        responses = self._connection.open(_messages(outgoing))

        def cancel() -> None:
            responses.cancel()
            outgoing.put_nowait(None)  # ends the iterator that gRPC reads from

        stream = OpenStream(outgoing.put_nowait, cancel)
        reader = asyncio.create_task(_read(pipeline, stream, responses, self._connection))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        return stream

    async def join(self) -> None:
        """Wait until no stream is read any more."""
        if self._readers:
            await asyncio.wait(self._readers)


def new_future() -> Any:
    """Return a future for one result; an error in it may stay unread."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


async def wait_done(future: Any, timeout: float | None) -> bool:
    """Wait for a future at most so many seconds; return whether it is done."""
    if not future.done():
        await asyncio.wait([future], timeout=timeout)
    return bool(future.done())


def close_when_dropped(owner: object, close: Callable[[], None]) -> Callable[[], object]:
    """Return `close`, to be called once: by hand, or when `owner` is collected."""
    finalizer = weakref.finalize(owner, close)
    finalizer.atexit = False  # there is no event loop then
    return finalizer


async def _messages(outgoing: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while (message := await outgoing.get()) is not None:
        yield message


async def _read(pipeline: RequestPipeline, stream: OpenStream, responses: Any, connection: Connection) -> None:
    error: JepaError = stream_ended(connection.target)
    try:
        while (response := await responses.read()) is not grpc.aio.EOF:
            pipeline.answer(stream, connection.parsed(response))
    except grpc.RpcError as broken:
        error = connection.failure(broken)
    except JepaError as broken:
        error = broken
    except asyncio.CancelledError:
        error = CallCancelledError("the stream was cancelled")
        raise
    except Exception as unforeseen:
        error = InternalError(f"{connection.target}: {unforeseen}")
    finally:
        pipeline.ended(stream, connection.outcome(error))
