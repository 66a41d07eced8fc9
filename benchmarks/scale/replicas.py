"""Replicas on Ray Serve below running callers: what a second one gives, a redeploy costs, and a lost one takes away."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.axes import Axes

from benchmarks.report import Cell, Table, Target
from benchmarks.scale.cluster import Cluster, started
from benchmarks.scale.load import Load, loaded

CALLERS, SECONDS = 16, 20
GAIN, RECOVERY_SECONDS = 1.8, 30
ALLOWED = ("UNAVAILABLE", "CONTEXT_NOT_FOUND")  # of calls whose replica is killed
REDEPLOYED = {"ray_actor_options": {"num_cpus": 0.1, "runtime_env": {"env_vars": {"VERSION": "2"}}}}


def measure(effort: float) -> Table:
    """Run callers of a model that sleeps for 100 ms, from one replica to two, through a redeploy and a SIGKILL."""
    with (
        TemporaryDirectory() as folder,
        started(Path(folder), num_replicas=1) as cluster,
        loaded(cluster.target, CALLERS) as load,
    ):
        run = _Run(cluster, load, SECONDS * effort)
        one = run.steady("one replica")
        cluster.deploy(num_replicas=2)
        cluster.wait(lambda running: len(running) == 2)
        two = run.steady("two replicas")
        run.change("redeploy of two", lambda: cluster.deploy(**REDEPLOYED), kept=0)
        redeployed = load.errors["UNAVAILABLE"]
        doomed = cluster.replicas()[0]
        recovery = run.change("SIGKILL of one of two", lambda: os.kill(doomed, signal.SIGKILL), kept=1)
        others = load.errors.total() - sum(load.errors[reason] for reason in ALLOWED)
    targets = [
        Target("answers a second of two replicas, in times of one", two / one, GAIN, at_least=True),
        Target("calls that a redeploy made UNAVAILABLE", redeployed, 0),
        Target("seconds from SIGKILL of a replica until two serve", recovery, RECOVERY_SECONDS),
        Target(f"calls that failed after it other than by {' or '.join(ALLOWED)}", others, 0),
    ]
    title = f"Replicas of a model that sleeps for 100 ms, below {CALLERS} callers"
    columns = ("below the callers", "answers a second", "answered", "failed", "slowest call s", "two serve after s")
    return Table("scale_replicas", title, columns, run.rows, run.draw, targets)


class _Run:
    """Rows of the table, each of what happens while the callers call."""

    def __init__(self, cluster: Cluster, load: Load, seconds: float) -> None:
        self._cluster, self._load, self._seconds = cluster, load, seconds
        self.rows: list[list[Cell]] = []
        self._began: list[tuple[str, float]] = []

    def steady(self, name: str) -> float:
        """Let the callers call; return the median of the answers a second."""
        self._begin(name)
        rate = float(np.median([self._load.rate(self._seconds / 5) for _ in range(5)]))
        self._end(name, rate, "")
        return rate

    def change(self, name: str, act: Callable[[], None], kept: int) -> float:
        """Act, and wait until two replicas serve, of which so many did before; return the seconds."""
        before, began = set(self._cluster.replicas()), time.monotonic()
        self._begin(name)
        act()
        self._cluster.wait(lambda running: len(running) == 2 and len(before & set(running)) == kept)
        seconds = time.monotonic() - began
        self._load.rate(self._seconds / 5)  # connections of before end later
        self._end(name, self._load.answers / (time.monotonic() - began), seconds)
        return seconds

    def draw(self, axes: Axes) -> None:
        """Draw the answers a second over time."""
        start = self._began[0][1]
        times = np.array(self._load.times) - start
        counts, edges = np.histogram(times, np.arange(0, times.max(), 1.0))
        axes.step(edges[1:], counts)
        for name, began in self._began:
            axes.axvline(began - start, color="grey", linewidth=0.8)
            axes.text(began - start, axes.get_ylim()[1], f" {name}", rotation=90, va="top", fontsize=8)
        axes.set_xlabel("time, s")
        axes.set_ylabel("answers a second")

    def _begin(self, name: str) -> None:
        self._load.begin()
        self._began.append((name, time.monotonic()))

    def _end(self, name: str, rate: float, seconds: Cell) -> None:
        load = self._load
        failed = ", ".join(f"{count} {reason}" for reason, count in sorted(load.errors.items())) or "none"
        self.rows.append([name, rate, str(load.answers), failed, load.slowest, seconds])
