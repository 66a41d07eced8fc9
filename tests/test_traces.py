"""Traces: spans of a call and its stages reach an OTLP collector, in the trace that the caller began."""

import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.scenes import candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_server.config import StartError
from worldforge_jepa_server.rpc.observability import traces

collector_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

DEADLINE = 60
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = ("decode", "queue", "encode", "unroll", "distance")


class Collector(grpc.GenericRpcHandler):
    """An OTLP collector in this process that keeps spans."""

    def __init__(self):
        self.spans, self.service_names, self._changed = [], set(), threading.Condition()

    def service(self, details):
        assert details.method.endswith("TraceService/Export")
        return grpc.unary_unary_rpc_method_handler(self._export)

    def _export(self, data, _):
        request = collector_service.ExportTraceServiceRequest.FromString(data)
        with self._changed:
            for resource in request.resource_spans:
                self.service_names |= {
                    each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
                }
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self._changed.notify_all()
        return collector_service.ExportTraceServiceResponse().SerializeToString()

    def wait(self, found):
        """Return what `found` finds among the spans, once it does."""
        with self._changed:
            assert self._changed.wait_for(lambda: found(self.spans), DEADLINE), [span.name for span in self.spans]
            return found(self.spans)


@pytest.fixture
def collector():
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[collector])
    collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(None).wait()


def test_a_call_is_a_span_in_the_callers_trace_with_its_stages_inside(collector, start_server, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{collector.address}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    server = start_server("--model", "tiny", "--threads", "1")
    metadata = [("traceparent", f"00-{TRACE}-{PARENT}-01")]
    with Client(server.target, timeout=DEADLINE, metadata=metadata) as client:
        client.score(**scene(), action_candidates=candidates())
    method = "worldforge.jepa.v1.WorldModelService/Score"
    call = collector.wait(lambda spans: next((span for span in spans if span.name == method), None))
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)
    stages = collector.wait(
        lambda spans: (
            found if len(found := [each for each in spans if each.parent_span_id == call.span_id]) == 5 else []
        )
    )
    assert sorted(span.name for span in stages) == sorted(STAGES)
    by_name = {span.name: span for span in stages}
    for earlier, later in itertools.pairwise(STAGES):
        assert by_name[earlier].end_time_unix_nano == by_name[later].start_time_unix_nano
    assert by_name["unroll"].end_time_unix_nano > by_name["unroll"].start_time_unix_nano
    assert collector.service_names == {"worldforge-jepa"}
    assert f"trace_id={TRACE}" in server.log


def test_nothing_is_traced_unless_a_standard_variable_asks_for_it(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    assert traces.tracing() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for name, value in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert traces.tracing() is None


def test_without_the_package_one_line_names_the_extra(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set: pip install 'worldforge-jepa\[otel\]'"):
        traces.tracing()
