"""gRPC's options of a connection: how a lost one is noticed, how long it lives, and how many calls it carries."""

from __future__ import annotations

from worldforge_jepa_server.config import ServerConfig

_MAX_STREAMS = 256
_LEAST_PING_SECONDS = 0.5  # half of what clients may ask for, as pings do not come to the millisecond
_METADATA_BYTES = 16384  # of one call


def connection_options(config: ServerConfig) -> list[tuple[str, int]]:
    """Return the options of a server's connections.

    The server pings a connection that says nothing, and ends one that does not answer; a client may ping as often as
    once a second. A connection past its age takes no new calls; those that run may go on for as long as in a drain.
    """
    options = [
        ("grpc.keepalive_time_ms", _ms(config.keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _ms(config.keepalive_timeout_seconds)),
        ("grpc.http2.ping_timeout_ms", _ms(config.keepalive_timeout_seconds)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(_LEAST_PING_SECONDS)),
        ("grpc.max_concurrent_streams", _MAX_STREAMS),
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _METADATA_BYTES),
    ]
    if config.max_connection_age_seconds:
        options += [
            ("grpc.max_connection_age_ms", _ms(config.max_connection_age_seconds)),
            ("grpc.max_connection_age_grace_ms", _ms(config.drain_seconds)),
        ]
    return options


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
