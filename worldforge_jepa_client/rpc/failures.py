"""The errors that both kinds of connection raise by themselves."""

from __future__ import annotations

from worldforge_jepa_client.errors import (
    CallCancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    UnavailableError,
)
from worldforge_jepa_client.reasons import Reason


def client_closed() -> CallCancelledError:
    """Return the error of a call on a closed client, or of one that the closing ended."""
    return CallCancelledError("the client is closed", reason=Reason.CLIENT_CLOSED)


def client_forked() -> FailedPreconditionError:
    """Return the error of a call in a fork of the client's process."""
    return FailedPreconditionError(
        "the client was made before this process was forked; make one in each process", reason=Reason.CLIENT_FORKED
    )


def stream_ended(target: str) -> UnavailableError:
    """Return the error of a stream that the server ended without a status."""
    return UnavailableError(f"{target}: the server ended the stream")


def unparsable(target: str) -> InternalError:
    """Return the error of a response that is not of this service."""
    return InternalError(f"{target}: the response cannot be parsed; is this a worldforge-jepa server?")


def too_late() -> DeadlineExceededError:
    """Return the error of a session's request without an answer in time."""
    return DeadlineExceededError("no answer within the request's time")
