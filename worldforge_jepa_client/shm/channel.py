"""gRPC channels that pass large tensors through shared memory; methods with a stream of responses send them inline."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import grpc.aio

from worldforge_jepa_client.shm.segments import Segment, Segments


class SharedChannel:
    """A `grpc.Channel` as the stub knows it."""

    def __init__(self, channel: Any, segments: Segments) -> None:
        self._channel, self._segments = channel, segments
        self.unary_stream = channel.unary_stream

    def unary_unary(self, *method: Any, **codec: Any) -> Callable[..., Any]:
        """See `grpc.Channel.unary_unary`."""
        send = self._channel.unary_unary(*method, **codec)

        def call(request: Any, **options: Any) -> Any:
            with self._segments.sharing(request):
                return send(request, **options)

        return call

    def stream_stream(self, *method: Any, **codec: Any) -> Callable[..., Any]:
        """See `grpc.Channel.stream_stream`."""
        return partial(_Stream, self._channel.stream_stream(*method, **codec), _shared, self._segments)

    def close(self) -> None:
        """See `grpc.Channel.close`."""
        self._channel.close()
        self._segments.close()


class SharedAioChannel:
    """A `grpc.aio.Channel` as the stub knows it."""

    def __init__(self, channel: Any, segments: Segments) -> None:
        self._channel, self._segments = channel, segments
        self.unary_stream = channel.unary_stream

    def unary_unary(self, *method: Any, **codec: Any) -> Callable[..., Awaitable[Any]]:
        """See `grpc.aio.Channel.unary_unary`."""
        send = self._channel.unary_unary(*method, **codec)

        async def share_and_send(request: Any, **options: Any) -> Any:
            with self._segments.sharing(request):
                return await send(request, **options)

        def call(request: Any, **options: Any) -> Awaitable[Any]:
            return asyncio.ensure_future(share_and_send(request, **options))

        return call

    def stream_stream(self, *method: Any, **codec: Any) -> Callable[..., Any]:
        """See `grpc.aio.Channel.stream_stream`."""
        return partial(_AioStream, self._channel.stream_stream(*method, **codec), _shared_async, self._segments)

    async def close(self) -> None:
        """See `grpc.aio.Channel.close`."""
        await self._channel.close()
        self._segments.close()


class _Call:
    """A call of ScoreStream: each response answers the oldest request in flight."""

    def __init__(
        self, send: Callable[..., Any], share: Callable[..., Any], segments: Segments, requests: Any, **options: Any
    ) -> None:
        self._segments = segments
        self._in_flight: deque[Segment | None] = deque()
        self._responses = send(share(requests, segments, self._in_flight), **options)
        self.cancel = self._responses.cancel

    def _answered(self) -> None:
        if self._in_flight:  # a call that has ended keeps none
            self._segments.answered(self._in_flight.popleft())


class _Stream(_Call):
    def __iter__(self) -> Iterator[Any]:
        try:
            for response in self._responses:
                self._answered()
                yield response
        finally:
            self._in_flight.clear()  # whose segments the error's traceback may hold for long


class _AioStream(_Call):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # gRPC may hold the call for long after its end.
        self._responses.add_done_callback(lambda _: self._in_flight.clear())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """See `grpc.aio.StreamStreamCall.add_done_callback`."""
        self._responses.add_done_callback(callback)

    async def read(self) -> Any:
        """See `grpc.aio.StreamStreamCall.read`."""
        response = await self._responses.read()
        if response is not grpc.aio.EOF:
            self._answered()
        return response


def _shared(requests: Iterator[Any], segments: Segments, in_flight: deque[Segment | None]) -> Iterator[Any]:
    for request in requests:
        in_flight.append(segments.share(request))
        yield request


async def _shared_async(
    requests: AsyncIterator[Any], segments: Segments, in_flight: deque[Segment | None]
) -> AsyncIterator[Any]:
    async for request in requests:
        in_flight.append(segments.share(request))
        yield request
