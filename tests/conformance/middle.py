"""A server that passes every call on to another, and breaks a promise on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

import grpc
from google.protobuf.message_factory import GetMessageClass

from worldforge_jepa_client.v1 import jepa_pb2

METHODS = {method.name: method for method in jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"].methods}
UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))

Change = Callable[[object], object]
"""Changes a message in place."""


@dataclass
class Break:
    """A way to break a promise; by default none.

    Attributes:
        requests, responses: a change of a method's messages, by its name.
        forgives: answers a call that was refused with an empty success.
        details: what is left of the details of an error.
        late_headers: keeps a stream's headers until its first response.
        ignores_cancel: lets the call behind go on when its caller is gone.
        reads_ahead: takes every message at once, whatever becomes of the answers.
    """

    requests: dict[str, Change] = field(default_factory=dict)
    responses: dict[str, Change] = field(default_factory=dict)
    forgives: bool = False
    details: Callable[[object], object] | None = None
    late_headers: bool = False
    ignores_cancel: bool = False
    reads_ahead: bool = False


def changed(change: Change | None, message_class, data: bytes) -> bytes:
    if change is None:
        return data
    message = message_class.FromString(data)
    change(message)
    return message.SerializeToString()


class Middle(grpc.GenericRpcHandler):
    """The handlers of all methods, on a channel to the server behind."""

    def __init__(self, channel: grpc.aio.Channel, broken: Break) -> None:
        self._channel, self._broken = channel, broken
        self.orphans = []

    def service(self, details):
        method = METHODS.get(details.method.rpartition("/")[2])
        if method is None:
            return None
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        behind = getattr(self._channel, kind)(details.method)
        answer = self._stream if method.server_streaming else self._unary
        return getattr(grpc, f"{kind}_rpc_method_handler")(partial(answer, method, behind))

    def _request(self, method, data):
        return changed(self._broken.requests.get(method.name), GetMessageClass(method.input_type), data)

    def _response(self, method, data):
        return changed(self._broken.responses.get(method.name), GetMessageClass(method.output_type), data)

    async def _unary(self, method, behind, data, context):
        try:
            answer = await behind(self._request(method, data), timeout=context.time_remaining())
        except grpc.RpcError as error:
            return await self._refuse(error, context)
        return self._response(method, answer)

    async def _stream(self, method, behind, data, context):
        timeout = None if self._broken.ignores_cancel else context.time_remaining()
        if method.client_streaming:
            call = behind(timeout=timeout)
            sending = asyncio.create_task(self._send(method, data, call))
        else:
            call, sending = behind(self._request(method, data), timeout=timeout), None
        try:
            async for answer in self._answers(method, call, context):
                yield answer
        except grpc.RpcError as error:
            yield await self._refuse(error, context)
        finally:
            if sending:
                sending.cancel()
            if not self._broken.ignores_cancel:
                call.cancel()

    async def _answers(self, method, call, context):
        if not self._broken.late_headers:
            await call.initial_metadata()
            await context.send_initial_metadata(())
        read = self._reading_on(call) if self._broken.ignores_cancel else call.read
        while (answer := await read()) is not grpc.aio.EOF:
            yield self._response(method, answer)

    async def _send(self, method, requests, call):
        async for data in requests:
            if not self._broken.reads_ahead:
                await call.write(self._request(method, data))
        await call.done_writing()

    def _reading_on(self, call):
        """Read a call to its end, whatever becomes of its caller; return what gets its next answer."""
        answers = asyncio.Queue()

        async def read_on():
            while (answer := await call.read()) is not grpc.aio.EOF:
                answers.put_nowait(answer)
            answers.put_nowait(grpc.aio.EOF)

        self.orphans.append(asyncio.create_task(read_on()))
        return answers.get

    async def _refuse(self, error, context):
        """Return an empty success, or abort with the error behind."""
        if not self._broken.forgives:
            kept = tuple(pair for pair in error.trailing_metadata() if pair[0] == "grpc-status-details-bin")
            kept = self._broken.details(kept) if self._broken.details else kept
            await context.abort(error.code(), error.details(), kept)
        return b""


@contextlib.asynccontextmanager
async def in_front_of(
    target: str, broken: Break, kind: Callable[[grpc.aio.Channel, Break], Middle] = Middle
) -> AsyncIterator[str]:
    """Serve on a free port what the server at `target` serves, with a promise broken."""
    async with grpc.aio.insecure_channel(target, UNLIMITED) as channel:
        server = grpc.aio.server(options=UNLIMITED)
        middle = kind(channel, broken)
        server.add_generic_rpc_handlers((middle,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            for orphan in middle.orphans:
                orphan.cancel()
            await asyncio.gather(*middle.orphans, return_exceptions=True)
            await server.stop(None)
