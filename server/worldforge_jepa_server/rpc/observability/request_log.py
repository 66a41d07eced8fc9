"""The request log: one line a call when it has ended, and one for each answer of a stream that was slow."""

from __future__ import annotations

import logging
from typing import Any

from worldforge_jepa_client.contract.types import Timing
from worldforge_jepa_server.rpc.observability.calls import Call
from worldforge_jepa_server.runtime import access

_log = logging.getLogger("worldforge_jepa_server.request")


class RequestLog:
    """Logs calls at `info`, and at `warning` those slower than `slow_ms`; 0 makes none slow.

    A stream lasts as long as its client wants, so its answers are held against `slow_ms`, not the whole.
    """

    def __init__(self, slow_ms: float) -> None:
        self._slow_us = slow_ms * 1000

    def began(self, call: Call) -> None:
        """See `Observer.began`."""

    def scored(self, call: Call, timing: Timing) -> None:
        """See `Observer.scored`."""
        if call.method.kind != "unary" and 0 < self._slow_us < timing.total_us:
            fields = _fields(call) | {"queue_ms": timing.queue_us / 1000, "total_ms": timing.total_us / 1000}
            _log.warning("slow answer", extra={"fields": fields})

    def ended(self, call: Call) -> None:
        """See `Observer.ended`."""
        slow = call.method.kind == "unary" and 0 < self._slow_us < call.seconds * 1e6
        level = logging.WARNING if slow else logging.INFO
        if not _log.isEnabledFor(level):
            return
        fields = _fields(call) | {
            "code": call.code,
            "reason": call.error.reason if call.error and call.code != "OK" else "",
            "received": call.received,
            "sent": call.sent,
            "queue_ms": round(call.queue_us / 1000, 3),
            "total_ms": round(call.seconds * 1000, 3),
        }
        _log.log(level, "slow call" if slow else "call", extra={"fields": fields})


def _fields(call: Call) -> dict[str, Any]:
    """Return what a line says of a call: never the content of a tensor, nor a token."""
    return {
        "request_id": call.request_id,
        "trace_id": call.trace_id,
        "method": f"{call.method.service}/{call.method.method}",
        "model": call.model,
        "samples": call.samples,
        "horizon": call.horizon,
        "principal": access.principal(guarded=False).name,
        "peer": call.peer,
    }
