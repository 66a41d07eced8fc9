"""The record of a call: opened where the call arrives, and completed by whatever runs it, in the call's task."""

from __future__ import annotations

from contextvars import ContextVar

from worldforge_jepa_client.contract.types import Timing
from worldforge_jepa_client.errors import JepaError


class CallRecord:
    """Facts about one call.

    Attributes:
        model: the name of the model that it resolved to; empty where it came to none.
        samples: S of the last candidates that were scored.
        horizon: H of them.
        queue_us: microseconds that its work waited for the device, of all its scores.
        error: the last error that it was answered with.
    """

    model = ""
    samples = horizon = queue_us = 0
    error: JepaError | None = None

    def scored(self, model: str, samples: int, horizon: int, timing: Timing) -> None:
        """Note that S candidates of H steps were scored, now."""
        self.model, self.samples, self.horizon = model, samples, horizon
        self.queue_us += timing.queue_us

    def failed(self, error: JepaError) -> None:
        """Note the error that the call, or one message of its stream, is answered with."""
        self.error = error


_record: ContextVar[CallRecord] = ContextVar("record")
_UNOBSERVED = CallRecord()
"""Notes what is not part of a call, as the work of a local client; never read."""


def current() -> CallRecord:
    """Return the record of this task's call."""
    return _record.get(_UNOBSERVED)


def open_record(record: CallRecord) -> None:
    """Let what this task runs complete a record."""
    _record.set(record)
