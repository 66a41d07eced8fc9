"""The door that every call passes: opens its record, and tells the observers what happened."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from worldforge_jepa_client.contract.types import Timing
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.rpc.observability.tally import MethodTally, Tally
from worldforge_jepa_server.runtime.record import CallRecord, open_record

if TYPE_CHECKING:
    import grpc.aio

    Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_ID = "x-request-id"
_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_OTHER = "OTHER"
"""The label of reasons that are not this project's, as a foreign model's may be."""


class Observer(Protocol):
    """Is told of calls, in the call's task; must be quick and must not raise."""

    def began(self, call: Call) -> None:
        """See that a call has begun."""

    def scored(self, call: Call, timing: Timing) -> None:
        """See that one of its scores was computed, now."""

    def ended(self, call: Call) -> None:
        """See that it has ended, with `call.code` and after `call.seconds`."""


class Call(CallRecord):
    """One call while it runs, as a context manager around all of its handling.

    Attributes:
        code: the name of its gRPC status, at its end.
        seconds: how long it took, at its end.
        received: messages so far; `sent` likewise.
        request_id: the caller's `x-request-id`, or one of our own.
        trace_id: of the caller's W3C `traceparent`; empty without.
        peer: the caller's address.
        span: of the trace, where one is made.
    """

    code = ""
    seconds = 0.0
    span: Any = None
    received = sent = 0

    def __init__(self, context: Context, tally: MethodTally, calls: Calls) -> None:
        self.method, self._tally, self._calls, self._context = tally, tally, calls, context
        self.metadata = dict(context.invocation_metadata() or ())
        given = str(self.metadata.get(REQUEST_ID, ""))
        self.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        parent = _TRACE_PARENT.fullmatch(str(self.metadata.get("traceparent", "")))
        self.trace_id = parent[1] if parent else ""
        self.peer = context.peer()

    def __enter__(self) -> Call:
        self.began = time.perf_counter()
        self._tally.started += 1
        self._context.set_trailing_metadata(self.trailers)
        open_record(self)
        for each in self._calls.observers:
            each.began(self)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: object) -> None:
        self.seconds = time.perf_counter() - self.began
        self.code = self._code(error)
        self._tally.handled[self.code] += 1
        self._tally.seconds.add(self.seconds)
        for each in self._calls.observers:
            each.ended(self)

    @property
    def trailers(self) -> tuple[tuple[str, str], ...]:
        """The trailing metadata of every call."""
        return ((REQUEST_ID, self.request_id),)

    def receive(self) -> None:
        """Note one more message of the caller."""
        self.received += 1
        self._tally.received += 1

    def send(self) -> None:
        """Note one more message to the caller."""
        self.sent += 1
        self._tally.sent += 1

    async def receiving(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Pass the messages of a stream on, each noted."""
        async for message in messages:
            self.receive()
            yield message

    def scored(self, model: str, samples: int, horizon: int, timing: Timing) -> None:
        """See `CallRecord.scored`."""
        super().scored(model, samples, horizon, timing)
        self._calls.tally.models[model].scores.add((samples, horizon, timing))
        for each in self._calls.observers:
            each.scored(self, timing)

    def failed(self, error: JepaError) -> None:
        """See `CallRecord.failed`."""
        super().failed(error)
        self._calls.tally.errors[error.reason if error.reason in _REASONS else _OTHER] += 1

    def _code(self, error: BaseException | None) -> str:
        if error is None:
            return "OK"
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            left = self._context.time_remaining()
            return "CANCELLED" if left is None or left > 0 else "DEADLINE_EXCEEDED"
        return self.error.code.name if self.error else "UNKNOWN"


_REASONS = frozenset(reason.value for reason in Reason)


class Calls:
    """Opens the calls of a server.

    Attributes:
        tally: counts them.
        observers: are told of each.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.observers: Sequence[Observer] = ()

    def method(self, path: str, kind: str) -> Method:
        """Return one method of the server, `/package.Service/Method`."""
        return Method(self, self.tally.method(path, kind))


class Method:
    """One method, whose calls it opens."""

    def __init__(self, calls: Calls, tally: MethodTally) -> None:
        self._calls, self._tally = calls, tally

    def open(self, context: Context) -> Call:
        """Return a call that has arrived, to be entered."""
        return Call(context, self._tally, self._calls)
