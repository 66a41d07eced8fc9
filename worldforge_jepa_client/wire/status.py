"""Errors to `google.rpc.Status`, to an Error inside a stream, and back."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2

DOMAIN = "worldforge.jepa"


_MAX_MESSAGE = 1000  # bytes: a status travels in trailers, of which gRPC allows few kilobytes


_BY_CODE: dict[grpc.StatusCode, type[JepaError]] = {cls.code: cls for cls in JepaError.__subclasses__()}


_BY_NUMBER: dict[int, type[JepaError]] = {code.value[0]: cls for code, cls in _BY_CODE.items()}


def to_status(error: JepaError) -> Status:
    """Return the google.rpc.Status of an error: ErrorInfo, and BadRequest or RetryInfo where they apply."""
    message = _text(error)
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={"field": error.field} if error.field else {})
    details: list[Message] = [info]
    if error.field:
        violation = BadRequest.FieldViolation(field=error.field, description=message, reason=error.reason)
        details.append(BadRequest(field_violations=[violation]))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    return Status(code=error.code.value[0], message=message, details=[_pack(detail) for detail in details])


def from_rpc_error(error: grpc.RpcError, target: str) -> JepaError:
    """Return the error that a failed call to `target` carries.

    One that gRPC itself raised names the target and has its status as the reason, but for two: RESOURCE_EXHAUSTED is
    MESSAGE_TOO_LARGE, the only limit that gRPC enforces by itself, and CANCELLED becomes UNAVAILABLE: a caller that
    cancels reads no error, so the server cancelled the call because it is going away.
    """
    code = error.code()
    info, retry = _details(error)
    message = error.details() or code.name
    if code is grpc.StatusCode.CANCELLED and not info.reason:
        code = grpc.StatusCode.UNAVAILABLE
    by_grpc = Reason.MESSAGE_TOO_LARGE if code is grpc.StatusCode.RESOURCE_EXHAUSTED else code.name
    return _BY_CODE.get(code, JepaError)(
        message if info.reason else f"{target}: {message}",
        reason=info.reason or by_grpc,
        field=info.metadata.get("field", ""),
        retry_after=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
    )


def to_message(error: JepaError) -> jepa_pb2.Error:
    """Return an error's form inside a stream."""
    message = jepa_pb2.Error(code=error.code.value[0], message=_text(error), reason=error.reason, field=error.field)
    if error.retry_after is not None:
        message.retry_delay.FromNanoseconds(round(error.retry_after * 1e9))
    return message


def from_message(message: jepa_pb2.Error) -> JepaError:
    """Return the error that a stream carries."""
    retry_after = message.retry_delay.ToNanoseconds() / 1e9 if message.HasField("retry_delay") else None
    return _BY_NUMBER.get(message.code, JepaError)(
        message.message, reason=message.reason, field=message.field, retry_after=retry_after
    )


def _details(error: grpc.RpcError) -> tuple[ErrorInfo, RetryInfo]:
    """Decode the trailers; return empty details where they belong to another status, as a proxy may leave them."""
    info, retry = ErrorInfo(), RetryInfo()
    try:
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            detail.Unpack(info) or detail.Unpack(retry)
    except (ValueError, DecodeError):
        return ErrorInfo(), RetryInfo()
    return info, retry


def _text(error: JepaError) -> str:
    """Return text that fits on the wire: bounded in length, and valid UTF-8, as an undecodable file name is not."""
    return str(error).encode(errors="replace")[:_MAX_MESSAGE].decode(errors="ignore")


def _pack(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
