"""The client of a call, as the scheduler shares the device."""

from __future__ import annotations

import time
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from worldforge_jepa_client.wire.metadata import SESSION_METADATA
from worldforge_jepa_server.scheduling.engine import Caller

if TYPE_CHECKING:
    import grpc.aio

    _Context = grpc.aio.ServicerContext[Any, Any]

_ASSUMED_DEADLINE = 60.0  # seconds: deadline assumed for scheduling when the client sets none


def caller_of(context: _Context, stream: bool = False) -> Caller:
    """Return the caller; all unary calls of a client are one stream of it."""
    now = time.perf_counter()
    left = context.time_remaining()
    deadline = now + (_ASSUMED_DEADLINE if left is None else left)
    return Caller(client_of(context), now, deadline, object() if stream else None)


def client_of(context: _Context) -> Hashable:
    """Return what shares the device as one: the calls of a session id, or else of a connection."""
    named = [value for key, value in context.invocation_metadata() or () if key == SESSION_METADATA]
    return named[0] if named else context.peer()
