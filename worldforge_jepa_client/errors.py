"""The errors of this project, and their form on the wire.

One tree serves both sides: the server raises these, the wire carries status, reason, field and message, and the
client raises the same class again.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar

import grpc

from worldforge_jepa_client.reasons import Reason


class JepaError(Exception):
    """Any failure of a call.

    Attributes:
        code: the gRPC status it travels as.
        reason: a stable UPPER_SNAKE identifier for programs.
        field: the request field at fault, dotted; empty where none is.
        retry_after: seconds after which a retry makes sense; None where it makes none.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(self, message: str, *, reason: str = "", field: str = "", retry_after: float | None = None) -> None:
        self.reason = reason.value if isinstance(reason, Reason) else reason or self.code.name
        self.field = field
        self.retry_after = retry_after
        super().__init__(message if not field or message.startswith(field) else f"{field}: {message}")


class InvalidArgumentError(JepaError):
    """The request itself is malformed; sending it again cannot help."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class UnauthenticatedError(JepaError):
    """The server needs a token, and the call carries none of its tokens."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(JepaError):
    """The call's token is not for this model."""

    code = grpc.StatusCode.PERMISSION_DENIED


class NotFoundError(JepaError):
    """The server has no such model or context."""

    code = grpc.StatusCode.NOT_FOUND


class FailedPreconditionError(JepaError):
    """The request is well-formed but this model cannot serve it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class OutOfRangeError(JepaError):
    """The request exceeds a published limit."""

    code = grpc.StatusCode.OUT_OF_RANGE


class ResourceExhaustedError(JepaError):
    """The server's queue or memory is full (see `retry_after`), or the message is too large."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(JepaError):
    """No server answers, or it is loading or draining."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(JepaError):
    """The call's deadline passed."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class CallCancelledError(JepaError):
    """The call was cancelled."""

    code = grpc.StatusCode.CANCELLED


class UnimplementedError(JepaError):
    """The server does not know this method: it is older, or another service."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(JepaError):
    """A fault of the server or its model; the message carries the id under which the server logged it."""

    code = grpc.StatusCode.INTERNAL


def invalid(field: str, problem: str, reason: Reason) -> InvalidArgumentError:
    """Return the error of a field: what came, and what was expected."""
    return InvalidArgumentError(problem, reason=reason, field=field)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" of the known name nearest to an unknown one, or nothing where none is near."""
    found = get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""
