"""(c) The throughput of many planners on one server, with batching and without."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from matplotlib.axes import Axes

from benchmarks.report import Table, Target, p50_p99
from benchmarks.scene import candidates, two_rooms
from benchmarks.servers import serving
from worldforge_jepa_client import AsyncClient

PLANNERS, SAMPLES, HORIZON = (1, 4, 8, 16, 64), 16, 6
SLICE_SECONDS, ROUNDS = 4.0, 2
SERVERS = {"batched": (), "alone": ("--no-batching",)}
HEADLINE = 8


@dataclass
class Got:
    """The calls of all planners in one slice: seconds of each call, and the length of the slice."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.latencies) / self.seconds


def measure(effort: float) -> Table:
    """Let planners loop on both servers in turns."""
    got = {(kind, planners): Got() for planners in PLANNERS for kind in SERVERS}
    with contextlib.ExitStack() as stack:
        targets = {kind: stack.enter_context(serving(*flags)).target for kind, flags in SERVERS.items()}
        for _ in range(ROUNDS):
            for kind, planners in got:
                slice_seconds = SLICE_SECONDS * effort
                asyncio.run(_slice(targets[kind], planners, slice_seconds, got[kind, planners]))
    return _table(got)


async def _slice(target: str, planners: int, seconds: float, got: Got) -> None:
    """Each planner has a connection and a session, and asks again as soon as it is answered."""
    begin = asyncio.Event()
    loops = [asyncio.create_task(_planner(target, begin, seconds, got.latencies, seed)) for seed in range(planners)]
    await asyncio.sleep(0)
    began = time.perf_counter()
    begin.set()
    await asyncio.gather(*loops)
    got.seconds += time.perf_counter() - began


async def _planner(target: str, begin: asyncio.Event, seconds: float, latencies: list[float], seed: int) -> None:
    proposed = candidates(SAMPLES, HORIZON, seed)
    async with AsyncClient(target, timeout=120) as client, client.session(**two_rooms()) as session:
        await begin.wait()
        deadline = time.perf_counter() + seconds
        while (began := time.perf_counter()) < deadline:
            await session.score(proposed)
            latencies.append(time.perf_counter() - began)


def _table(got: dict[tuple[str, int], Got]) -> Table:
    columns = ["planners", *(f"{kind} {what}" for kind in SERVERS for what in ("calls/s", "p50 ms", "p99 ms")), "gain"]
    gains = {planners: got["batched", planners].rate / got["alone", planners].rate for planners in PLANNERS}
    rows: list[list[str | float]] = []
    for planners in PLANNERS:
        cells: list[str | float] = [str(planners)]
        for kind in SERVERS:
            one = got[kind, planners]
            cells += [one.rate, *p50_p99(one.latencies)]
        rows.append([*cells, gains[planners]])

    def draw(axes: Axes) -> None:
        for kind in SERVERS:
            axes.plot(PLANNERS, [got[kind, planners].rate for planners in PLANNERS], marker="o", label=kind)
        axes.set_xscale("log", base=2)
        axes.set_xticks(PLANNERS, map(str, PLANNERS))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("planners at a time")
        axes.set_ylabel("calls a second")
        axes.legend(frameon=False)

    return Table(
        "concurrency",
        f"Planners at a time on the embedded model, {SAMPLES} candidates a call, horizon {HORIZON}",
        columns,
        rows,
        draw,
        [Target(f"calls/s of {HEADLINE} planners, in times of batching off", gains[HEADLINE], 1.5, at_least=True)],
    )
