"""The errors that both kinds of connection raise by themselves."""

from __future__ import annotations

import grpc

from worldforge_jepa_client.errors import (
    CallCancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    JepaError,
    UnavailableError,
)
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.channel import environment, is_local
from worldforge_jepa_client.wire.status import from_rpc_error

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")  # in gRPC's order


def failed_call(error: grpc.RpcError, target: str) -> JepaError:
    """Return the error of a failed call; one that reached no server names the proxy that stands before it."""
    failure = from_rpc_error(error, target)
    if isinstance(failure, UnavailableError) and failure.reason == failure.code.name and (proxy := proxy_of(target)):
        return UnavailableError(f"{failure} (through the proxy that {proxy} names)")
    return failure


def proxy_of(target: str) -> str:
    """Return the environment's variable whose proxy gRPC uses for a target; empty where it uses none."""
    host = target.rpartition(":")[0].rpartition("/")[2]
    excepted = environment("no_grpc_proxy") or environment("no_proxy")
    direct = is_local(target) or any(host.endswith(end.strip()) for end in excepted.split(",") if end.strip())
    return "" if direct else next((name for name in _PROXIES if environment(name)), "")


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
