"""Metrics for Prometheus, made from a server's counts when they are read."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from worldforge_jepa_server.config import StartError
from worldforge_jepa_server.rpc.observability.tally import STAGES, Histogram, Tally

if TYPE_CHECKING:
    from worldforge_jepa_server.runtime.replicas import Replicas

_PREFIX = "worldforge_jepa_"
_METHOD = ("grpc_type", "grpc_service", "grpc_method")


def serve_metrics(address: str, replicas: Replicas, tally: Tally) -> str:
    """Serve the metrics over HTTP at `host:port`, in a thread of their own; return their URL.

    Raises:
        StartError: the address is taken or is none of this machine.
    """
    host, _, port = address.rpartition(":")
    registry = CollectorRegistry()
    registry.register(Metrics(replicas, tally))
    ProcessCollector(registry=registry)
    try:
        server, _ = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise StartError(f"--metrics-address {address}: {error.strerror or error}") from error
    return f"http://{host}:{server.server_port}/metrics"


class Metrics:
    """A collector of `prometheus_client`: reads the counts and the runtimes' figures."""

    def __init__(self, replicas: Replicas, tally: Tally) -> None:
        self._replicas, self._tally = replicas, tally

    def describe(self) -> list[Metric]:
        """Return nothing: what there is depends on the models."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield each metric as it is now."""
        self._tally.fold()
        yield from self._calls()
        yield from self._models()
        yield from self._runtime_figures()

    def _calls(self) -> Iterator[Metric]:
        started = _counter("grpc_server_started", "RPCs started.", _METHOD)
        handled = _counter("grpc_server_handled", "RPCs completed, by status.", (*_METHOD, "grpc_code"))
        received = _counter("grpc_server_msg_received", "Messages received.", _METHOD)
        sent = _counter("grpc_server_msg_sent", "Messages sent.", _METHOD)
        seconds = HistogramMetricFamily(
            "grpc_server_handling_seconds", "Time from an RPC's start to its end.", labels=_METHOD
        )
        for each in list(self._tally.methods.values()):
            labels = (each.kind, each.service, each.method)
            started.add_metric(labels, each.started)
            received.add_metric(labels, each.received)
            sent.add_metric(labels, each.sent)
            for code, count in dict(each.handled).items():
                handled.add_metric((*labels, code), count)
            _add_histogram(seconds, labels, each.seconds)
        yield from (started, handled, received, sent, seconds)

    def _models(self) -> Iterator[Metric]:
        candidates = _counter(f"{_PREFIX}candidates", "Candidates scored.", ("model",))
        steps = _counter(f"{_PREFIX}candidate_steps", "Candidates scored, times their horizon.", ("model",))
        stages = HistogramMetricFamily(
            f"{_PREFIX}stage_seconds", "Time of a score in each stage.", labels=("model", "stage")
        )
        for model, tally in list(self._tally.models.items()):
            candidates.add_metric((model,), tally.candidates)
            steps.add_metric((model,), tally.candidate_steps)
            for stage, histogram in zip(STAGES, tally.stages, strict=True):
                _add_histogram(stages, (model, stage), histogram)
        errors = _counter(f"{_PREFIX}errors", "Errors that callers got, by reason.", ("reason",))
        for reason, count in dict(self._tally.errors).items():
            errors.add_metric((reason,), count)
        yield from (candidates, steps, stages, errors)

    def _runtime_figures(self) -> Iterator[Metric]:
        now, streams = self._replicas.statistics(), self._tally.methods.values()
        yield _gauge("ready", "1 while the server takes calls.", float(self._tally.ready))
        yield _gauge("queue_candidate_steps", "Candidates times horizon of the calls accepted.", now.queue)
        yield _gauge("queue_limit_candidate_steps", "The most that are accepted.", now.queue_limit)
        yield _gauge("cache_bytes", "Latents that contexts and the encoder's cache hold.", now.cache_bytes)
        yield _gauge("contexts", "Contexts kept.", now.contexts)
        open_streams = sum(each.open for each in list(streams) if each.kind == "bidi_stream")
        yield _gauge("streams", "Streams of scores that are open.", open_streams)
        for name, count in (("hits", now.encode_hits), ("misses", now.encode_misses)):
            yield CounterMetricFamily(f"{_PREFIX}encode_cache_{name}", f"Encodings: {name} of the cache.", count)
        for name, histogram in (
            ("batch_requests", self._tally.batch_requests),
            ("batch_candidates", self._tally.batch_candidates),
        ):
            family = HistogramMetricFamily(f"{_PREFIX}{name}", f"{name.partition('_')[2].title()} of a batch.")
            _add_histogram(family, (), histogram)
            yield family
        memory = GaugeMetricFamily(f"{_PREFIX}device_memory_bytes", "Memory of the models' devices.", labels=["kind"])
        for kind, size in self._replicas.device_memory().items():
            memory.add_metric([kind], size)
        yield memory
        yield from _facts(self._replicas)


def _facts(replicas: Replicas) -> Iterator[Metric]:
    labels = ("model", "source", "device", "dtype", "checkpoint_digest")
    models = GaugeMetricFamily(f"{_PREFIX}model_info", "Models in service.", labels=labels)
    specs = replicas.statistics().specs
    # Each once: a server may have two threads on one device.
    for facts in {(spec.name, spec.source, spec.device, spec.dtype, spec.checkpoint_digest) for spec in specs}:
        models.add_metric(facts, 1)
    yield models
    build = {name: version(name) for name in ("torch", "grpcio")}
    build |= {"version": version("worldforge-jepa"), "python": platform.python_version()}
    yield InfoMetricFamily(f"{_PREFIX}build", "Versions of the server.", build)


def _counter(name: str, text: str, labels: Sequence[str]) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=labels)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", text, value)


def _add_histogram(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram) -> None:
    counts = list(accumulate(list(histogram.counts)))
    bounds = [*(f"{bound:.9g}" for bound in histogram.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, counts, strict=True)), histogram.sum)
