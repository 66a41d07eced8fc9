"""(f) The time from starting a cold server to its first answer."""

from __future__ import annotations

import time

from matplotlib.axes import Axes

from benchmarks.report import Table, p50_p99
from benchmarks.scene import candidates, two_rooms
from benchmarks.servers import serving
from worldforge_jepa_client import Client

STARTS, SAMPLES, HORIZON = 8, 300, 6


def measure(effort: float) -> Table:
    """Start servers one after the other."""
    starts = [_start() for _ in range(max(2, round(STARTS * effort)))]
    names = ("process to ready", "first score", "second score")
    times = dict(zip(names, zip(*starts, strict=True), strict=True))
    rows = [(name, *p50_p99(seconds)) for name, seconds in times.items()]

    def draw(axes: Axes) -> None:
        axes.barh(names, [row[1] for row in rows])
        axes.set_xscale("log")
        axes.set_xlabel("median, ms")
        axes.invert_yaxis()

    title = f"A cold start of the embedded model, and its first scores of {SAMPLES} candidates"
    return Table("startup", title, ("ms", "p50", "p99"), rows, draw)


def _start() -> tuple[float, float, float]:
    with serving() as server, Client(server.target, timeout=60) as client:
        client.model()  # connects, which is not what is measured
        began = time.perf_counter()
        client.score(**two_rooms(), action_candidates=candidates(SAMPLES, HORIZON))
        first = time.perf_counter()
        client.score(**two_rooms(), action_candidates=candidates(SAMPLES, HORIZON))
        return server.ready_seconds, first - began, time.perf_counter() - first
