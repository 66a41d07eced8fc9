"""The figures of a server that an operator looks at, from two readings of its metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from worldforge_jepa_client.tools.operate.metrics import Interval

_PROJECT = "worldforge_jepa_"
_STARTED = "grpc_server_started_total"
_HANDLED, _HANDLING = "grpc_server_handled_total", "grpc_server_handling_seconds"


def figures(interval: Interval) -> dict[str, Any]:
    """Return the figures as JSON: rates are a second, times milliseconds, sizes bytes; None is what did not happen."""
    now = interval.now
    return {
        "seconds": interval.seconds,
        "version": next(iter(now.values(f"{_PROJECT}build_info", "version")), None),
        "ready": bool(now.total(f"{_PROJECT}ready")),
        "streams": now.total(f"{_PROJECT}streams"),
        "methods": dict(_methods(interval)),
        "models": dict(_models(interval)),
        "queue": _queue(interval),
        "cache": _cache(interval),
        "memory": {
            kind: now.total(f"{_PROJECT}device_memory_bytes", kind=kind)
            for kind in now.values(f"{_PROJECT}device_memory_bytes", "kind")
        },
        "errors": dict(_errors(interval)),
    }


def _methods(interval: Interval) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Yield the methods that have been called."""
    for method in interval.now.values(_STARTED, "grpc_method"):
        if not interval.now.total(_STARTED, grpc_method=method):
            continue
        every = interval.rate(_HANDLED, grpc_method=method)
        yield (
            method,
            {
                "calls": every,
                "messages": interval.rate("grpc_server_msg_received_total", grpc_method=method),
                "failed": every - interval.rate(_HANDLED, grpc_method=method, grpc_code="OK"),
                "p50": _milliseconds(interval.quantile(0.5, _HANDLING, grpc_method=method)),
                "p99": _milliseconds(interval.quantile(0.99, _HANDLING, grpc_method=method)),
            },
        )


def _models(interval: Interval) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each model its candidates a second, and the mean time of each stage."""
    stages = f"{_PROJECT}stage_seconds"
    for model in interval.now.values(f"{_PROJECT}model_info", "model"):
        yield (
            model,
            {
                "candidates": interval.rate(f"{_PROJECT}candidates_total", model=model),
                "candidate_steps": interval.rate(f"{_PROJECT}candidate_steps_total", model=model),
                "stages": {
                    stage: _milliseconds(interval.mean(stages, model=model, stage=stage))
                    for stage in interval.now.values(f"{stages}_count", "stage")
                },
            },
        )


def _queue(interval: Interval) -> dict[str, float | None]:
    return {
        "candidate_steps": interval.now.total(f"{_PROJECT}queue_candidate_steps"),
        "limit": interval.now.total(f"{_PROJECT}queue_limit_candidate_steps"),
        "batches": interval.rate(f"{_PROJECT}batch_requests_count"),
        "requests_of_a_batch": interval.mean(f"{_PROJECT}batch_requests"),
        "candidates_of_a_batch": interval.mean(f"{_PROJECT}batch_candidates"),
    }


def _cache(interval: Interval) -> dict[str, float | None]:
    hits, misses = (interval.rate(f"{_PROJECT}encode_cache_{outcome}_total") for outcome in ("hits", "misses"))
    return {
        "bytes": interval.now.total(f"{_PROJECT}cache_bytes"),
        "contexts": interval.now.total(f"{_PROJECT}contexts"),
        "hit_share": hits / (hits + misses) if hits + misses else None,
    }


def _errors(interval: Interval) -> Iterator[tuple[str, dict[str, float]]]:
    name = f"{_PROJECT}errors_total"
    for reason in interval.now.values(name, "reason"):
        yield reason, {"rate": interval.rate(name, reason=reason), "total": interval.now.total(name, reason=reason)}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
