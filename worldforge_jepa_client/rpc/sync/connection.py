"""The blocking side of a client's I/O: calls and streams on one channel, each failure a JepaError. Thread-safe.

Its counterpart is `rpc.aio.connection`; everything above the two is written once.
"""

from __future__ import annotations

import concurrent.futures
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from worldforge_jepa_client.errors import CallCancelledError, InternalError, JepaError
from worldforge_jepa_client.rpc.channel import ChannelOptions, make_channel, remaining
from worldforge_jepa_client.rpc.credentials import Credentials
from worldforge_jepa_client.rpc.failures import client_closed, client_forked, failed_call, stream_ended, unparsable
from worldforge_jepa_client.rpc.stream_state import OpenStream, RequestPipeline
from worldforge_jepa_client.shm.channel import SharedChannel
from worldforge_jepa_client.shm.segments import Segments
from worldforge_jepa_client.v1 import jepa_pb2_grpc

Lock = threading.RLock
sleep = time.sleep

_UNPARSABLE = "Exception deserializing response!"  # gRPC's own words for it


class Connection:
    """Calls a server."""

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
        self._pid, self._closed = os.getpid(), False
        self._metadata = credentials.call_metadata()
        if channel is None:
            channel = make_channel(target, credentials.channel_credentials(), options)
        self._channel: Any = SharedChannel(channel, Segments()) if shared_memory else channel
        self._stub = jepa_pb2_grpc.WorldModelServiceStub(self._channel)

    def call(self, method: str, request: Any, deadline: float) -> Any:
        """Return the response of a unary call."""
        return self._start(method, request, timeout=remaining(deadline))

    def stream(self, method: str, request: Any, deadline: float) -> Responses:
        """Start a call with a stream of responses."""
        return Responses(self, self._start(method, request, timeout=remaining(deadline)))

    def open(self, requests: Iterator[Any]) -> Any:
        """Start a call with a stream in both directions."""
        return self._start("ScoreStream", requests)

    def close(self) -> None:
        """End what is running with CallCancelledError, and close the channel."""
        self._closed = True
        if self._pid == os.getpid():
            self._channel.close()

    def check(self) -> None:
        """Raise a JepaError where this process cannot use the connection."""
        if self._closed:
            raise client_closed() from None
        if self._pid != os.getpid():
            raise client_forked()

    def failure(self, error: grpc.RpcError) -> JepaError:
        """Return the JepaError of a failed call."""
        broken = error.details() == _UNPARSABLE
        return self.outcome(unparsable(self.target) if broken else failed_call(error, self.target))

    def outcome(self, error: JepaError) -> JepaError:
        """Return an error, or that of a closed client, which explains it."""
        return client_closed() if self._closed else error

    def _start(self, method: str, request: Any, **options: Any) -> Any:
        self.check()
        try:
            return getattr(self._stub, method)(request, metadata=self._metadata, **options)
        except grpc.RpcError as error:
            raise self.failure(error) from None
        except ValueError:  # another thread has closed the channel meanwhile
            self.check()
            raise


class Responses:
    """The responses of one call."""

    def __init__(self, connection: Connection, call: Any) -> None:
        self._connection, self._call, self._cancelled = connection, call, False

    def read(self) -> Any:
        """Return the next response, None at the end.

        Raises:
            JepaError: the call failed; CallCancelledError after `cancel` or the client's `close`.
        """
        try:
            return next(self._call, None)
        except grpc.RpcError as error:
            if self._cancelled:
                raise self._connection.outcome(CallCancelledError("the call was cancelled")) from None
            raise self._connection.failure(error) from None

    def cancel(self) -> None:
        """End the call."""
        self._cancelled = True
        self._call.cancel()


_JOIN_SECONDS = 1.0


class Streams:
    """Opens the streams of one session, each read by a thread of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._readers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def open(self, pipeline: RequestPipeline) -> OpenStream:
        """Open a stream that reports to the pipeline."""
        outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        responses = self._connection.open(iter(outgoing.get, None))

        def cancel() -> None:
            responses.cancel()
            outgoing.put(None)  # releases gRPC's thread, which waits for more to send

        stream = OpenStream(outgoing.put, cancel)
        reader = threading.Thread(
            target=_read, args=(pipeline, stream, responses, self._connection), name="session", daemon=True
        )
        self._readers.add(reader)
        reader.start()
        return stream

    def join(self) -> None:
        """Wait until no stream is read any more, for a second at most for each.

        After Ctrl-C inside gRPC's own code a reader was seen to wait for ever, although its call was cancelled.
        """
        for reader in list(self._readers):
            if reader is not threading.current_thread():
                reader.join(_JOIN_SECONDS)


def new_future() -> Any:
    """Return a future for one result."""
    return concurrent.futures.Future()


def wait_done(future: Any, timeout: float | None) -> bool:
    """Wait for a future at most so many seconds; return whether it is done."""
    try:
        future.exception(timeout)
    except concurrent.futures.TimeoutError:
        return False
    return True


def close_when_dropped(owner: object, close: Callable[[], None]) -> Callable[[], object]:
    """Return `close`, to be called once: by hand, or when `owner` is collected."""
    return weakref.finalize(owner, close)


def _read(pipeline: RequestPipeline, stream: OpenStream, responses: Any, connection: Connection) -> None:
    error: JepaError = stream_ended(connection.target)
    try:
        for response in responses:
            pipeline.answer(stream, response)
    except grpc.RpcError as broken:
        error = connection.failure(broken)
    except Exception as unforeseen:
        error = InternalError(f"{connection.target}: {unforeseen}")
    finally:
        pipeline.ended(stream, connection.outcome(error))
