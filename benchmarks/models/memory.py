"""(d) The memory that a call takes on top of the idle server's."""

from __future__ import annotations

import time

from matplotlib.axes import Axes

from benchmarks.report import Table, Target
from benchmarks.scene import candidates, two_rooms
from benchmarks.servers import MIB, Server, serving
from worldforge_jepa_client import Client

BUDGET = 256
"""MiB."""

CALLS = ((512, 3), (512, 12), (512, 48), (2048, 12), (20_000, 12))
"""Candidates and horizon; the last one is held against the budget."""


def measure(effort: float) -> Table:
    """Make each call once; `effort` does not matter."""
    del effort
    with serving("--memory-budget", f"{BUDGET}MiB") as server, Client(server.target, timeout=600) as client:
        client.score(**two_rooms(), action_candidates=candidates(8, 3))
        measured = [_call(server, client, samples, horizon) for samples, horizon in CALLS]
    rows = [(f"{samples:,} x {horizon}", *taken) for (samples, horizon), taken in zip(CALLS, measured, strict=True)]

    def draw(axes: Axes) -> None:
        axes.barh([row[0] for row in rows], [row[1] for row in rows])
        axes.axvline(BUDGET, color="tab:red", linewidth=1, label="budget")
        axes.set_xlabel("MiB beyond the server at rest")
        axes.set_ylabel("candidates x horizon")
        axes.invert_yaxis()
        axes.legend(frameon=False)

    last = f"peak of {CALLS[-1][0]:,} candidates at horizon {CALLS[-1][1]}, in times of the budget"
    return Table(
        "memory",
        f"Memory of a call on the embedded model, --memory-budget {BUDGET}MiB",
        ("candidates x horizon", "peak MiB", "kept MiB", "seconds"),
        rows,
        draw,
        [Target(last, measured[-1][0] / BUDGET, 1.1)],
    )


def _call(server: Server, client: Client, samples: int, horizon: int) -> tuple[float, float, float]:
    """The peak during the call and what is left after it, MiB beyond what there was before; and its seconds."""
    server.forget_peak()
    before, began = server.resident, time.perf_counter()
    client.score(**two_rooms(), action_candidates=candidates(samples, horizon))
    seconds = time.perf_counter() - began
    return (server.peak - before) / MIB, (server.resident - before) / MIB, seconds
