"""A proxy that passes every call on and records those of WorldModelService."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import grpc.aio

from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.v1.recording_pb2 import RecordedCall
from worldforge_jepa_client.wire.status import from_rpc_error

SERVICE: str = jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"].full_name
UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
_OWN_METADATA = ("user-agent", "grpc-", "te", "content-type")
"""How keys begin that each connection has of its own."""

Record = Callable[[RecordedCall], None]


class Proxy(grpc.GenericRpcHandler):
    """Handlers of all methods, on a channel to a server; at the wire each is a stream in both directions."""

    def __init__(self, channel: grpc.aio.Channel, target: str, record: Record) -> None:
        self._channel, self._target, self._record = channel, target, record
        self._streams = itertools.count(1)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the handler of any method."""
        return grpc.stream_stream_rpc_method_handler(partial(self._forward, details.method))

    async def _forward(self, path: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        told = [pair for pair in context.invocation_metadata() if not pair[0].startswith(_OWN_METADATA)]
        call: Any = self._channel.stream_stream(path)(metadata=told, timeout=context.time_remaining())
        calls = self._calls(path)
        sending = asyncio.create_task(_send(requests, call, calls))
        try:
            await call.initial_metadata()
            await context.send_initial_metadata(())
            async for response in call:
                calls.answered(response)
                yield response
            calls.ended()
        except grpc.aio.AioRpcError as error:
            calls.ended(error.code().value[0], from_rpc_error(error, self._target).reason)
            await context.abort(error.code(), error.details(), _details(error))
        finally:
            sending.cancel()
            call.cancel()

    def _calls(self, path: str) -> _Calls:
        service, _, method = path.strip("/").rpartition("/")
        record = self._record if service == SERVICE else _ignore
        stream = next(self._streams) if method == "ScoreStream" else 0
        return _Calls(method, record, stream)


@dataclass
class _Calls:
    """Requests and responses of one call, to be recorded; of a ScoreStream each answer makes a call of its own."""

    method: str
    record: Record
    stream: int
    waiting: deque[tuple[float, float, bytes]] = field(default_factory=deque)
    responses: list[bytes] = field(default_factory=list)

    def sent(self, request: bytes) -> None:
        self.waiting.append((time.time(), time.perf_counter(), request))

    def answered(self, response: bytes) -> None:
        self.responses.append(response)
        if self.stream:
            self.ended()

    def ended(self, code: int = 0, reason: str = "") -> None:
        """Record the oldest request that waits with the responses that came."""
        if not self.waiting:
            return
        began, clock, request = self.waiting.popleft()
        call = RecordedCall(method=self.method, request=request, code=code, reason=reason, stream=self.stream)
        call.responses.extend(self.responses)
        call.begin_time.FromNanoseconds(round(began * 1e9))
        call.duration_us = round((time.perf_counter() - clock) * 1e6)
        self.responses = []
        self.record(call)


async def _send(requests: AsyncIterator[bytes], call: Any, calls: _Calls) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the call has ended, and says why
        async for request in requests:
            calls.sent(request)
            await call.write(request)
        await call.done_writing()


def _details(error: grpc.aio.AioRpcError) -> tuple[tuple[str, Any], ...]:
    return tuple(pair for pair in error.trailing_metadata() or () if pair[0] == "grpc-status-details-bin")


def _ignore(call: RecordedCall) -> None:
    """Keep nothing of another service's call."""
