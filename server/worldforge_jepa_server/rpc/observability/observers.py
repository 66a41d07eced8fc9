"""Observers of a server's calls, as the config and the environment ask for."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.rpc.observability.calls import Calls
from worldforge_jepa_server.rpc.observability.metrics import serve_metrics
from worldforge_jepa_server.rpc.observability.request_log import RequestLog
from worldforge_jepa_server.rpc.observability.traces import tracing
from worldforge_jepa_server.runtime.replicas import Replicas

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def observing(calls: Calls, config: ServerConfig, replicas: Replicas) -> Iterator[None]:
    """Watch the calls of a server: by the request log, and by metrics and traces where those are asked for.

    Raises:
        StartError: the metrics' address is taken, or traces need a package that is missing.
    """
    traces = tracing()
    calls.observers = [RequestLog(config.slow_ms), *([traces] if traces else [])]
    for each in replicas:
        each.engine.on_batch = calls.tally.batches.add
    if config.metrics_address:
        _log.info("metrics at %s", serve_metrics(config.metrics_address, replicas, calls.tally))
    try:
        yield
    finally:
        if traces:
            traces.close()
