"""Converts exceptions to gRPC statuses, for every method."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from worldforge_jepa_client.errors import InternalError, InvalidArgumentError, JepaError, ResourceExhaustedError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.wire.status import to_status
from worldforge_jepa_server.rpc.observability.calls import Call, Method
from worldforge_jepa_server.runtime import record

if TYPE_CHECKING:
    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)
_M = TypeVar("_M", bound=Message)

UnaryMethod = Callable[[Any, "Context"], Awaitable[Message]]
StreamMethod = Callable[[Any, "Context"], AsyncGenerator[Message, None]]
Parse = Callable[[bytes, type[Any]], Any]
"""Turns a request's bytes into its message; raises a JepaError where they are none."""


def answering(method: UnaryMethod, request_class: type[Message], parse: Parse, calls: Method) -> UnaryMethod:
    """Wrap a unary method into one of raw bytes; every exception becomes a status with details."""

    async def answered(data: bytes, context: Context) -> Message:
        with calls.open(context) as call:
            try:
                call.receive()
                response = await method(parse(data, request_class), context)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                await _abort(context, error, call)
            call.send()
            return response

    return answered


def streaming(method: StreamMethod, request_class: type[Message] | None, parse: Parse, calls: Method) -> StreamMethod:
    """`answering` for a stream of responses; without a request class the method takes the raw requests."""

    async def answered(data: Any, context: Context) -> AsyncGenerator[Message, None]:
        with calls.open(context) as call:
            try:
                request = _request(data, request_class, parse, call)
                await context.send_initial_metadata(())  # a host may wait for the headers before it sends
                async with contextlib.aclosing(method(request, context)) as responses:
                    async for response in responses:
                        call.send()
                        yield response
            except asyncio.CancelledError:
                raise
            except Exception as error:
                await _abort(context, error, call)

    return answered


def _request(data: Any, request_class: type[Message] | None, parse: Parse, call: Call) -> Any:
    if request_class is None:
        return call.receiving(data)
    call.receive()
    return parse(data, request_class)


def parse(data: bytes, message_class: type[_M]) -> _M:
    """Parse a request's bytes; gRPC's own parsing would answer UNKNOWN, with the text of a Python exception.

    Raises:
        InvalidArgumentError: they are no such message.
    """
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        raise InvalidArgumentError(
            f"{len(data)} bytes are not a {message_class.DESCRIPTOR.name}", reason=Reason.MALFORMED_MESSAGE
        ) from error


def as_jepa_error(error: Exception) -> JepaError:
    """Return the error that the caller sees, noted in the call's record.

    An unforeseen one is logged under the id that its message carries.
    """
    found = _as_jepa_error(error)
    record.current().failed(found)
    return found


def _as_jepa_error(error: Exception) -> JepaError:
    if isinstance(error, JepaError):
        return error
    if isinstance(error, MemoryError):
        return ResourceExhaustedError("out of memory; send fewer candidates at a time", reason=Reason.OUT_OF_MEMORY)
    incident = uuid.uuid4().hex[:12]
    _log.error("incident %s", incident, exc_info=error)
    return InternalError(f"{type(error).__name__} in the server; its log has incident {incident}")


async def _abort(context: Context, error: Exception, call: Call) -> NoReturn:
    status = rpc_status.to_status(to_status(as_jepa_error(error)))
    await context.abort(status.code, status.details, (*status.trailing_metadata, *call.trailers))
    raise AssertionError("abort always raises")
