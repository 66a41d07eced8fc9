"""Traces by OpenTelemetry: a span for each call, and within it one for each stage of its scores.

Made only where the extra `otel` is installed and a standard `OTEL_` variable names where traces go.
"""

from __future__ import annotations

import os
import threading
import time

from worldforge_jepa_client.contract.types import Timing
from worldforge_jepa_server.config import StartError
from worldforge_jepa_server.rpc.observability.calls import Call
from worldforge_jepa_server.rpc.observability.tally import STAGES

_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
_CLOSE_SECONDS = 2.0
_ORDER = ("decode", "queue", "encode", "unroll", "distance")
"""The stages as one follows the other."""


def tracing() -> Traces | None:
    """Return the observer that makes traces, or None where the environment asks for none.

    Raises:
        StartError: the extra is not installed.
    """
    asked = [name for name in _VARIABLES if os.environ.get(name, "").strip()]
    if not asked or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip() not in ("otlp", ""):
        return None
    try:
        return Traces()
    except ImportError as error:
        raise StartError(f"{asked[0]} is set: pip install 'worldforge-jepa[otel]' ({error})") from error


class Traces:
    """Makes spans; a thread exports them over OTLP in batches."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        named = os.environ.get("OTEL_SERVICE_NAME", "").strip() or "worldforge-jepa"
        self._provider = TracerProvider(resource=Resource.create({"service.name": named}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("worldforge_jepa_server")
        self._extract = TraceContextTextMapPropagator().extract
        self._trace = trace

    def began(self, call: Call) -> None:
        """See `Observer.began`."""
        name = f"{call.method.service}/{call.method.method}"
        span = self._tracer.start_span(name, self._extract(call.metadata), kind=self._trace.SpanKind.SERVER)
        span.set_attributes(
            {
                "rpc.system": "grpc",
                "rpc.service": call.method.service,
                "rpc.method": call.method.method,
                "request_id": call.request_id,
            }
        )
        call.trace_id = format(span.get_span_context().trace_id, "032x")
        call.span = span

    def scored(self, call: Call, timing: Timing) -> None:
        """See `Observer.scored`: lay the stages before now, one after the other."""
        parent = self._trace.set_span_in_context(call.span)
        spent = {stage: getattr(timing, f"{stage}_us") * 1000 for stage in STAGES}
        start = time.time_ns() - spent["total"]
        for stage in _ORDER:
            span = self._tracer.start_span(stage, parent, start_time=start)
            start += spent[stage]
            span.end(end_time=start)

    def ended(self, call: Call) -> None:
        """See `Observer.ended`."""
        span = call.span
        span.set_attributes({"rpc.grpc.status": call.code, "model": call.model, "samples": call.samples})
        if call.code != "OK":
            reason = call.error.reason if call.error else call.code
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, reason))
        span.end()

    def close(self) -> None:
        """Export what is left, for a moment: a collector that does not answer holds up no exit."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)
