"""(e) The latency of a health probe while the model is busy, and of a small call beside a large one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator

from matplotlib.axes import Axes

from benchmarks.harness import median, p99
from benchmarks.report import Table, Target, p50_p99
from benchmarks.scene import candidates, two_rooms
from benchmarks.servers import serving
from worldforge_jepa_client import AsyncClient, AsyncSession

SECONDS, ROUNDS, START_SECONDS = 8.0, 3, 60.0
CLIENTS, BUSY_SAMPLES = 8, 64
SMALL, LARGE, CHUNK, HORIZON = 32, 20_000, 512, 6
IDLE_PROBE, BUSY_PROBE = "health, idle server", f"health, {CLIENTS} clients that saturate it"
ALONE, BESIDE, ONE_CHUNK = (
    f"{SMALL} candidates alone",
    f"{SMALL} candidates beside {LARGE:,}",
    f"{CHUNK} candidates alone, one chunk",
)
WAIT = f"wait of the {SMALL} beside {LARGE:,}"


def measure(effort: float) -> Table:
    """Probe and call in turns, with and without load."""
    with serving("--chunk-size", str(CHUNK)) as server:
        taken = asyncio.run(_measure(server.target, SECONDS * effort))
    rows = [(name, *p50_p99(seconds)) for name, seconds in taken.items()]

    def draw(axes: Axes) -> None:
        axes.boxplot([[1e3 * each for each in seconds] for seconds in taken.values()], orientation="horizontal")
        axes.set_yticks(range(1, len(taken) + 1), list(taken), fontsize=8)
        axes.set_xscale("log")
        axes.set_xlabel("ms")
        axes.invert_yaxis()

    return Table(
        "responsiveness",
        "Health and small calls of the embedded model under load",
        ("ms", "p50", "p99"),
        rows,
        draw,
        [
            Target(f"{BUSY_PROBE}: p99 of {len(taken[BUSY_PROBE])}, ms", p99(taken[BUSY_PROBE]) * 1e3, 10),
            Target(f"{WAIT}: median, in times of a chunk", median(taken[WAIT]) / median(taken[ONE_CHUNK]), 1),
        ],
    )


async def _measure(target: str, seconds: float) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in (IDLE_PROBE, BUSY_PROBE, ALONE, ONE_CHUNK, BESIDE, WAIT)}
    async with AsyncClient(target, timeout=300) as client, client.session(**two_rooms()) as session:
        for _ in range(ROUNDS):
            taken[IDLE_PROBE] += await _probe(target, seconds / ROUNDS)
            async with _busy(target, CLIENTS, BUSY_SAMPLES):
                taken[BUSY_PROBE] += await _probe(target, seconds / ROUNDS)
            for name, samples in ((ALONE, SMALL), (ONE_CHUNK, CHUNK)):
                taken[name] += [latency for latency, _ in await _calls(session, samples, seconds / ROUNDS)]
            async with _busy(target, 1, LARGE):
                for latency, waited in await _calls(session, SMALL, seconds / ROUNDS):
                    taken[BESIDE].append(latency)
                    taken[WAIT].append(waited)
    return taken


async def _probe(target: str, seconds: float) -> list[float]:
    command = (sys.executable, "-m", "benchmarks.calls.probe", target, str(seconds))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    answers: list[float] = json.loads(output)
    return answers


async def _calls(session: AsyncSession, samples: int, seconds: float) -> list[tuple[float, float]]:
    """The seconds of each call, and those of them that the server says it waited for the device."""
    taken: list[tuple[float, float]] = []
    proposed = candidates(samples, HORIZON)
    deadline = time.perf_counter() + seconds
    while (began := time.perf_counter()) < deadline or len(taken) < 2:
        result = await session.score(proposed)
        taken.append((time.perf_counter() - began, result.timing.queue_us * 1e-6))
    return taken


@contextlib.asynccontextmanager
async def _busy(target: str, clients: int, samples: int) -> AsyncIterator[None]:
    """Keep a server busy with so many clients, each with so many candidates, one call after the other."""
    sent = [asyncio.Event() for _ in range(clients)]
    loops = [asyncio.create_task(_repeat(target, samples, event)) for event in sent]
    try:
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in sent)), START_SECONDS)
        yield
    finally:
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


async def _repeat(target: str, samples: int, sent: asyncio.Event) -> None:
    proposed = candidates(samples, HORIZON)
    async with AsyncClient(target, timeout=300) as client, client.session(**two_rooms()) as session:
        while True:
            pending = await session.submit(proposed)
            sent.set()
            await pending.result()
