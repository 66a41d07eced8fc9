"""gRPC channels whose requests carry their large tensors in shared memory; what returns a stream sends them inline."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import grpc.aio

from worldforge_jepa_client.shm.segments import Segment, Segments


class SharedChannel:
    """A `grpc.Channel` as the stub knows it."""

    def __init__(self, channel: Any) -> None:
        self._channel, self._segments = channel, Segments()
        self.unary_stream = channel.unary_stream

    def unary_unary(self, *method: Any, **codec: Any) -> Callable[..., Any]:
        """See `grpc.Channel.unary_unary`."""
        send = self._channel.unary_unary(*method, **codec)

        def call(request: Any, timeout: float | None = None) -> Any:
            with self._segments.sharing(request):
                return send(request, timeout=timeout)

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

    def __init__(self, channel: Any) -> None:
        self._channel, self._segments = channel, Segments()
        self.unary_stream = channel.unary_stream

    def unary_unary(self, *method: Any, **codec: Any) -> Callable[..., Awaitable[Any]]:
        """See `grpc.aio.Channel.unary_unary`."""
        send = self._channel.unary_unary(*method, **codec)

        async def call(request: Any, timeout: float | None = None) -> Any:
            with self._segments.sharing(request):
                return await send(request, timeout=timeout)

        return call

    def stream_stream(self, *method: Any, **codec: Any) -> Callable[..., Any]:
        """See `grpc.aio.Channel.stream_stream`."""
        return partial(_AioStream, self._channel.stream_stream(*method, **codec), _shared_async, self._segments)

    async def close(self) -> None:
        """See `grpc.aio.Channel.close`."""
        await self._channel.close()
        self._segments.close()


class _Call:
    """A call of ScoreStream: each response answers the oldest request that has none."""

    def __init__(
        self, send: Callable[[Any], Any], share: Callable[..., Any], segments: Segments, requests: Any
    ) -> None:
        self._segments = segments
        self._owed: deque[Segment | None] = deque()
        self._responses = send(share(requests, segments, self._owed))
        self.cancel = self._responses.cancel

    def _answered(self) -> None:
        self._segments.answered(self._owed.popleft())


class _Stream(_Call):
    def __iter__(self) -> Iterator[Any]:
        try:
            for response in self._responses:
                self._answered()
                yield response
        finally:
            self._owed.clear()  # whose segments the error's traceback may hold for long


class _AioStream(_Call):
    async def read(self) -> Any:
        """See `grpc.aio.StreamStreamCall.read`."""
        response = await self._responses.read()
        if response is not grpc.aio.EOF:
            self._answered()
        return response


def _shared(requests: Iterator[Any], segments: Segments, owed: deque[Segment | None]) -> Iterator[Any]:
    for request in requests:
        owed.append(segments.share(request))
        yield request


async def _shared_async(
    requests: AsyncIterator[Any], segments: Segments, owed: deque[Segment | None]
) -> AsyncIterator[Any]:
    async for request in requests:
        owed.append(segments.share(request))
        yield request
