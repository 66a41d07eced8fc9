"""How both clients connect, and how long they wait."""

from __future__ import annotations

import os
import re
import time

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
    # A connection that a network forgot is noticed within seconds; this project's server allows so many pings.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_LOOPBACK = re.compile(r"(ipv4:|dns:/*)?(localhost|127\.[\d.]+):|(ipv6:)?\[::1\]:|unix(-abstract)?:")


def channel_options(target: str) -> tuple[tuple[str, int], ...]:
    """Return the options of a channel; no proxy of the environment stands before a target on this host."""
    return (*CHANNEL_OPTIONS, *([("grpc.enable_http_proxy", 0)] if _LOOPBACK.match(target) else []))


def environment(name: str) -> str:
    """Return an environment variable without the space around it; empty where it is unset."""
    return os.environ.get(name, "").strip()


def default_target() -> str:
    """Return the server that the environment names, or else this machine's."""
    return environment(TARGET_VARIABLE) or DEFAULT_TARGET


def deadline_after(seconds: float) -> float:
    """When `seconds` from now are over, on the monotonic clock."""
    return time.monotonic() + seconds


def remaining(deadline: float) -> float:
    """The seconds until then, or 0."""
    return max(0.0, deadline - time.monotonic())
