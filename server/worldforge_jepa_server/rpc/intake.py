"""Takes requests in: bounds the bytes that are held, and decodes large messages off the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from worldforge_jepa_client.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2

_M = TypeVar("_M", bound=Message)
_R = TypeVar("_R")


@dataclass(frozen=True)
class Request(Generic[_M]):
    """A parsed message, and its bytes with those of tensors in shared memory; protobuf would copy it to count them."""

    message: _M
    size: int


Parse = Callable[[bytes, type[Any]], Request[Any]]
"""Turns bytes into a request; raises a JepaError where they are none."""

# The bytes of tensors are copied at once; those of other fields are read value by value.
_LARGE, _LARGE_FIELDS = 512 << 10, 16 << 10
_RETRY_SECONDS = 1.0


class Received:
    """The bytes of a message, to be taken once: gRPC keeps this object until the call ends."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data
        self.size = len(data)

    def take(self) -> bytes:
        """Return the bytes and let go of them."""
        data, self._data = self._data, None
        assert data is not None
        return data


def parse(data: bytes, message_class: type[_M]) -> Request[_M]:
    """Parse a request's bytes; gRPC's own parsing would answer UNKNOWN, with the text of a Python exception.

    Raises:
        InvalidArgumentError: they are no such message.
    """
    try:
        return Request(message_class.FromString(data), len(data))
    except DecodeError as error:
        raise InvalidArgumentError(
            f"{len(data)} bytes are not a {message_class.DESCRIPTOR.name}", reason=Reason.MALFORMED_MESSAGE
        ) from error


class Intake:
    """The messages that a server holds: those of running calls, and the scenes of idle streams.

    Args:
        capacity: bytes of all messages at a time; any one message is taken.
        parse: turns bytes into a request.
    """

    def __init__(self, capacity: int, parse: Parse = parse) -> None:
        self._capacity, self._parse = capacity, parse
        self._held = 0
        self._idle: dict[asyncio.Task[Any], int] = {}  # the one that has waited longest first
        self._draining = False
        self._one_at_a_time = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def request(self, received: Received, message_class: type[_M], kept: int = 0) -> AsyncIterator[Request[_M]]:
        """Yield the request of a call; its bytes, and the `kept` ones of its stream, are held meanwhile.

        Raises:
            ResourceExhaustedError: there is no room for it.
            InvalidArgumentError: the bytes are no such message.
        """
        size = received.size
        held = self._hold(size + kept)
        try:
            if size < _LARGE:
                request = self._parse(received.take(), message_class)
            else:
                request = await self._in_thread(lambda: self._parse(received.take(), message_class))
            held += self._hold(request.size - size)  # of tensors in shared memory
            yield request
        finally:
            self._held -= held

    async def decode(self, decode: Callable[..., _R], request: Request[Any], *arguments: object) -> _R:
        """Return what `decode` makes of a request's message, off the event loop where that is large."""
        message = request.message
        if request.size < _LARGE and _field_bytes(message) < _LARGE_FIELDS:
            return decode(message, *arguments)
        return await self._in_thread(lambda: decode(message, *arguments))

    async def next_message(self, messages: AsyncIterator[Received], kept: int) -> Received | None:
        """Return a stream's next message, None at its end; the stream keeps so many bytes while it waits.

        Raises:
            UnavailableError: the server is draining, or needs the room that the stream takes.
        """
        task = asyncio.current_task()
        assert task is not None
        if self._draining:
            raise _draining()
        self._idle[task] = kept
        try:
            return await anext(messages, None)
        except asyncio.CancelledError:
            if self._draining:
                raise _draining() from None
            if task not in self._idle:
                raise UnavailableError(
                    "the idle stream made room for other messages; open it again", reason=Reason.STREAM_EVICTED
                ) from None
            raise
        finally:
            self._idle.pop(task, None)

    def drain(self) -> None:
        """End each stream once it has answered what it was asked; other calls may finish."""
        self._draining = True
        for task in self._idle:
            task.cancel()

    def _hold(self, size: int) -> int:
        """Hold so many more bytes, and return how many that is; raises as `_make_room` does."""
        if size:
            self._make_room(size)
        self._held += size
        return size

    def _make_room(self, size: int) -> None:
        """End idle streams that keep a scene, the one that has waited longest first, until so many bytes fit.

        Raises:
            ResourceExhaustedError: they do not fit beside the calls that run.
        """
        excess = self._held + sum(self._idle.values()) + size - self._capacity
        for task, kept in list(self._idle.items()):
            if excess <= 0:
                return
            if kept:
                del self._idle[task]
                task.cancel()
                excess -= kept
        if excess > 0 and self._held:
            raise ResourceExhaustedError(
                f"the messages of running calls take {self._held} bytes of {self._capacity}; this one takes {size}",
                reason=Reason.MESSAGES_FULL,
                retry_after=_RETRY_SECONDS,
            )

    async def _in_thread(self, function: Callable[[], _R]) -> _R:
        async with self._one_at_a_time:  # more threads would share one interpreter lock
            return await asyncio.to_thread(function)


def _field_bytes(message: Any) -> int:
    """Return about how many bytes of a message are no tensor's: JSON, and the selection of an Unroll."""
    if isinstance(message, jepa_pb2.UnrollRequest):
        return 8 * (len(message.steps) + len(message.samples))
    extra_info = getattr(message, "extra_info", None)
    return 0 if extra_info is None else int(extra_info.ByteSize())


def _draining() -> UnavailableError:
    return UnavailableError("the server is draining", reason=Reason.DRAINING)
