"""Converts exceptions to gRPC statuses, for every method."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from worldforge_jepa_client.errors import InternalError, JepaError, ResourceExhaustedError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.wire.status import to_status
from worldforge_jepa_server.rpc.intake import Intake, Received
from worldforge_jepa_server.rpc.observability.calls import Call, Method
from worldforge_jepa_server.runtime import access, record

if TYPE_CHECKING:
    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)

UnaryMethod = Callable[[Any, "Context"], Awaitable[Message]]
StreamMethod = Callable[[Any, "Context"], AsyncGenerator[Message, None]]


def answering(method: UnaryMethod, calls: Method, request_class: type[Message], intake: Intake) -> UnaryMethod:
    """Wrap a unary method into one of raw messages; every exception becomes a status with details."""

    async def answered(received: Received, context: Context) -> Message:
        with calls.open(context) as call:
            try:
                call.receive()
                async with intake.request(received, request_class) as request:
                    response = await method(request, context)
                call.send()
                return response
            except asyncio.CancelledError:
                raise
            except Exception as error:
                status = _status(error, call)
            await context.abort(*status)
            raise AssertionError("abort always raises")

    return answered


def streaming(
    method: StreamMethod, calls: Method, request_class: type[Message] | None = None, intake: Intake | None = None
) -> StreamMethod:
    """`answering` for a stream of responses; without a request class the method takes the raw messages."""

    async def answered(received: Any, context: Context) -> AsyncGenerator[Message, None]:
        with calls.open(context) as call:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    request = await stack.enter_async_context(_request(received, call, request_class, intake))
                    await context.send_initial_metadata(())  # a host may wait for the headers before it sends
                    responses = await stack.enter_async_context(contextlib.aclosing(method(request, context)))
                    async for response in responses:
                        access.renew()
                        call.send()
                        yield response
                return
            except asyncio.CancelledError:
                raise
            except Exception as error:
                status = _status(error, call)
            await context.abort(*status)

    return answered


@contextlib.asynccontextmanager
async def _request(
    received: Any, call: Call, request_class: type[Message] | None, intake: Intake | None
) -> AsyncIterator[Any]:
    if request_class is None or intake is None:
        yield _authenticated(call.receiving(received))
        return
    call.receive()
    async with intake.request(received, request_class) as request:
        yield request


async def _authenticated(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for message in messages:
        access.renew()
        yield message


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


def without_frames(error: BaseException) -> None:
    """Drop the frames of an exception and of what caused it: they hold the request, in cycles."""
    seen: list[BaseException | None] = [error]
    while seen:
        each = seen.pop()
        if each is not None and each.__traceback__ is not None:
            each.__traceback__ = None
            seen += each.__cause__, each.__context__


def _status(error: Exception, call: Call) -> tuple[grpc.StatusCode, str, Any]:
    """Return code, details and trailers of an error that has reached its end."""
    status = rpc_status.to_status(to_status(as_jepa_error(error)))
    without_frames(error)
    return status.code, status.details, (*status.trailing_metadata, *call.trailers)
