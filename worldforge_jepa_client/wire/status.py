"""Errors to `google.rpc.Status`, to an Error inside a stream, and back."""

from __future__ import annotations

import re

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


# gRPC's own words for a connection that TLS ended.
_TLS_PROBLEM = re.compile(
    r"CERTIFICATE_VERIFY_FAILED: ([^:]+)|OPENSSL_internal:(?!CERT)([A-Z0-9_]+)"
    r"|(Hostname Verification Check failed)|Peer name \S+ (is not in peer certificate)"
)
_OTHER_NAME = "the server's certificate is for another name than the target's"
_TLS_WORDS = {
    "Hostname Verification Check failed": _OTHER_NAME,
    "is not in peer certificate": _OTHER_NAME,  # of gRPC 1.72
    "WRONG_VERSION_NUMBER": "the server does not speak TLS",
}
_CLOSED_AT_ONCE = re.compile("failed to connect to all addresses.*Socket closed")
_CLOSED_AT_ONCE_WORDS = (
    "the server closed the connection at once: it may speak TLS (set cacert), or want a certificate of the client "
    "(set cert and key)"
)

_HTTP_STATUS = re.compile(r"http2 header with status: (\d+)")
_OF_PROXIES = {
    "413": (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "a proxy before the server takes no request of this size: raise its limit, nginx's client_max_body_size",
    ),
    "504": (
        grpc.StatusCode.UNAVAILABLE,
        "a proxy before the server waited too long for its answer: raise its timeout, nginx's grpc_read_timeout or "
        "HAProxy's timeout server",
    ),
}
"""The errors that proxies answer by themselves, by their HTTP status."""

_RAY_WITHOUT_APPLICATION = "Ping /ray.serve.RayServeAPIService/ListApplications"
"""Part of what Ray Serve's HAProxy answers, as NOT_FOUND, until it knows of a replica."""


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

    One that gRPC itself raised names the target; see `_by_grpc`.
    """
    code, message = error.code(), error.details() or error.code().name
    info, retry = _details(error)
    reason = info.reason
    if not reason:
        code, reason, message = _by_grpc(code, message)
        message = f"{target}: {message}"
    return _BY_CODE.get(code, JepaError)(
        message,
        reason=reason,
        field=info.metadata.get("field", ""),
        retry_after=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
    )


def _by_grpc(code: grpc.StatusCode, message: str) -> tuple[grpc.StatusCode, str, str]:
    """Return the status, reason and message of an error that gRPC itself raised; the reason is mostly the status.

    RESOURCE_EXHAUSTED is METADATA_TOO_LARGE or MESSAGE_TOO_LARGE, the limits that gRPC enforces by itself. CANCELLED
    becomes UNAVAILABLE: a caller that cancels reads no error, so the server did, which is going away.
    """
    if answered := _HTTP_STATUS.search(message):
        code, advice = _OF_PROXIES.get(answered[1], (code, "a proxy before the server answered"))
        message = f"{message}; {advice}"
    if code is grpc.StatusCode.NOT_FOUND and _RAY_WITHOUT_APPLICATION in message:
        return grpc.StatusCode.UNAVAILABLE, Reason.NO_REPLICA, "Ray Serve has no replica yet"
    if code is grpc.StatusCode.CANCELLED:
        code = grpc.StatusCode.UNAVAILABLE
    if code is grpc.StatusCode.UNAVAILABLE and (problem := _TLS_PROBLEM.search(message)):
        words = next(filter(None, problem.groups()))
        return code, Reason.TLS_FAILED, f"TLS failed: {_TLS_WORDS.get(words, words)}"
    if code is grpc.StatusCode.UNAVAILABLE and _CLOSED_AT_ONCE.search(message):
        return code, Reason.TLS_FAILED, _CLOSED_AT_ONCE_WORDS
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return code, Reason.METADATA_TOO_LARGE if "metadata" in message else Reason.MESSAGE_TOO_LARGE, message
    return code, code.name, message


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
