"""The connection's settings and the deadlines of both clients."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc

from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.inputs.scalars import as_bool, as_seconds
from worldforge_jepa_client.reasons import Reason

DEFAULT_TARGET = "127.0.0.1:50051"
TARGET_VARIABLE = "WORLDFORGE_JEPA_TARGET"
"""The environment variable that names the server to commands and providers."""

READY_POLL_SECONDS = 0.05

CHANNEL_OPTIONS = (
    # Requests are held against the server's published limit; a response is as large as its request asked for.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A robot cannot wait out gRPC's usual back-off, which grows to two minutes, after a server restart.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Channels with equal options would share one connection, and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
    # As often as any server of gRPC allows; more pings have it end the connection with too_many_pings.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.http2.max_pings_without_data", 0),
    # How long what was sent may stay unacknowledged, by ping or by TCP, before the connection is given up.
    ("grpc.keepalive_timeout_ms", 5_000),
)
_IDEMPOTENT = ("ListModels", "GetModel", "Score", "CreateContext", "Encode")
"""The unary methods that may run twice; DeleteContext would be NOT_FOUND the second time."""
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "worldforge.jepa.v1.WorldModelService", "method": name} for name in _IDEMPOTENT],
            "retryPolicy": {
                "maxAttempts": 5,  # the most that gRPC makes
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],  # by a server that ends; callers cancel here
            },
        }
    ]
}
_RETRY_OPTIONS = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.per_rpc_retry_buffer_size", 64 << 20),  # of the request; a larger one than 256 KiB is else sent once
)
_LEAST_KEEPALIVE, _MOST_KEEPALIVE, _PING_TIMEOUT = 1.0, 2e6, 5.0  # seconds
_LOOPBACK = re.compile(r"(ipv4:|dns:/*)?(localhost|127\.[\d.]+):|(ipv6:)?\[::1\]:|unix(-abstract)?:")

_LARGE_MESSAGE = 16 << 20
_NEVER_SECONDS = 1e9  # about 30 years: beyond it clocks overflow
_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:", "xds:")
_HOST_PORT = re.compile(r"(?:[^\s:/]+|\[[^\s\]]+\]):([0-9]{1,5})")


ChannelOptions = Sequence[tuple[str, Any]]


def channel_options(target: str, options: ChannelOptions = ()) -> tuple[tuple[str, Any], ...]:
    """Return the options of a channel, the caller's first, since gRPC takes the first of a name.

    No proxy of the environment stands before a target on this host.
    """
    return (*options, *CHANNEL_OPTIONS, *([("grpc.enable_http_proxy", 0)] if is_local(target) else []))


def is_local(target: str) -> bool:
    """Return whether a target is on this host."""
    return _LOOPBACK.match(target) is not None


def keepalive_options(seconds: float | None) -> ChannelOptions:
    """Return the options of a channel that asks each `seconds` whether the server lives; None leaves gRPC's rules.

    Raises:
        InvalidArgumentError: no number of seconds, or more often than this project's server allows.
    """
    if seconds is None:
        return ()
    every = as_seconds(seconds, "keepalive")
    if every < _LEAST_KEEPALIVE:
        raise invalid("keepalive", f"is {every}; expected seconds, at least {_LEAST_KEEPALIVE}", Reason.INVALID_VALUE)
    return (
        ("grpc.keepalive_time_ms", round(min(every, _MOST_KEEPALIVE) * 1000)),
        ("grpc.keepalive_timeout_ms", round(min(every, _PING_TIMEOUT) * 1000)),
        ("grpc.http2.ping_timeout_ms", round(min(every, _PING_TIMEOUT) * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
    )


def retry_options(retry: object) -> ChannelOptions:
    """Return the options of a channel on which gRPC repeats what is UNAVAILABLE, where that is safe; or none.

    Raises:
        InvalidArgumentError: not a bool.
    """
    return _RETRY_OPTIONS if as_bool(retry, "retry") else ()


def make_channel(
    target: str, credentials: grpc.ChannelCredentials | None, options: ChannelOptions, *, module: Any = grpc
) -> Any:
    """Return a channel of `grpc` or `grpc.aio`; with credentials it speaks TLS."""
    _raise_malloc_thresholds()
    told = channel_options(target, options)
    if credentials is None:
        return module.insecure_channel(target, options=told)
    return module.secure_channel(target, credentials, options=told)


def _raise_malloc_thresholds() -> None:
    """Have glibc keep the memory of a sent message for the next one, up to 32 MiB, by freeing one block of 16 MiB.

    It hands back what is larger than the largest block that was ever freed, and fetches it again page by page, which
    took 2 of the 8 ms of a call with 1.28 MB. The block's own pages are never touched. See man 3 mallopt on the
    dynamic M_MMAP_THRESHOLD; a user who has set it keeps that.
    """
    bytes(_LARGE_MESSAGE)


def environment(name: str) -> str:
    """Return an environment variable without the space around it; empty where it is unset."""
    return os.environ.get(name, "").strip()


def default_target() -> str:
    """Return the server that the environment names, or else this machine's."""
    return environment(TARGET_VARIABLE) or DEFAULT_TARGET


def checked_target(target: object) -> str:
    """Return a target that gRPC can try to reach.

    Raises:
        InvalidArgumentError: not a string, a URL of another protocol, or no port.
    """
    expected = 'expected "host:port" or "unix:/path"'
    if not isinstance(target, str):
        raise invalid("target", f"is {target!r}; {expected}", Reason.INVALID_TYPE)
    port = _HOST_PORT.fullmatch(target)
    if not target.startswith(_SCHEMES) and not (port and 0 < int(port[1]) < 2**16):
        raise invalid("target", f"is {target!r}; {expected}", Reason.INVALID_VALUE)
    return target


def deadline_after(seconds: object, field: str = "timeout") -> float:
    """Return the time, on the monotonic clock, when `seconds` from now are over; infinite is never.

    Raises:
        InvalidArgumentError: not a number of seconds, at least 0.
    """
    return time.monotonic() + as_seconds(seconds, field)


def remaining(deadline: float) -> float | None:
    """Return the seconds until a deadline, or 0; None where that is never."""
    left = max(0.0, deadline - time.monotonic())
    return left if left < _NEVER_SECONDS else None


class MetadataChannel:
    """A channel, as a stub knows it, whose calls carry metadata."""

    def __init__(self, channel: Any, metadata: Sequence[tuple[str, Any]]) -> None:
        self._channel, self._metadata = channel, metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def unary_unary(self, *method: Any, **codec: Any) -> Any:
        """See `grpc.Channel.unary_unary`."""
        return partial(self._channel.unary_unary(*method, **codec), metadata=self._metadata)

    def unary_stream(self, *method: Any, **codec: Any) -> Any:
        """See `grpc.Channel.unary_stream`."""
        return partial(self._channel.unary_stream(*method, **codec), metadata=self._metadata)

    def stream_stream(self, *method: Any, **codec: Any) -> Any:
        """See `grpc.Channel.stream_stream`."""
        return partial(self._channel.stream_stream(*method, **codec), metadata=self._metadata)
