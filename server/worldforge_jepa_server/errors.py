"""Exceptions to statuses: the one place where a failed call gets its answer, whatever its method."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message
from grpc_status import rpc_status

from worldforge_jepa_client.errors import (
    InternalError,
    InvalidArgumentError,
    JepaError,
    ResourceExhaustedError,
    to_status,
)

if TYPE_CHECKING:
    import grpc.aio

_log = logging.getLogger(__name__)

Method = Callable[[Any, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[Message]]


def answering(method: Method, request_class: type[Message]) -> Method:
    """Wrap a unary method into one of raw request bytes; whatever goes wrong becomes a status with details.

    gRPC's own parsing of requests would answer UNKNOWN, with the text of a Python exception.
    """

    async def answered(data: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Message:  # noqa: RET503 - abort raises
        try:
            return await method(_parse(data, request_class), context)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            status = rpc_status.to_status(to_status(as_jepa_error(error)))
        await context.abort(status.code, status.details, status.trailing_metadata)

    return answered


def as_jepa_error(error: Exception) -> JepaError:
    """Return the error that the caller sees; an unforeseen one is logged under the id that its message carries."""
    if isinstance(error, JepaError):
        return error
    if isinstance(error, MemoryError):
        return ResourceExhaustedError("out of memory; send fewer candidates at a time", reason="OUT_OF_MEMORY")
    incident = uuid.uuid4().hex[:12]
    _log.error("incident %s", incident, exc_info=error)
    return InternalError(f"{type(error).__name__} in the server; its log has incident {incident}")


def _parse(data: bytes, request_class: type[Message]) -> Message:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        raise InvalidArgumentError(
            f"{len(data)} bytes are not a {request_class.DESCRIPTOR.name}", reason="MALFORMED_MESSAGE"
        ) from error
