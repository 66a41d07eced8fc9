"""A server under load: what memory it holds over time, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes

from benchmarks.load.generator import generate
from benchmarks.load.outcome import Load, Outcome
from benchmarks.report import Table
from benchmarks.servers import MIB, Server

INTERVAL, BEFORE_STOP, STOP_SECONDS = 1.0, 2.0, 60.0


@dataclass
class Memory:
    """A server's memory in MiB at a time in seconds."""

    seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    @property
    def slope(self) -> float:
        """MiB a minute, by least squares over the second half: in the first one caches fill."""
        half = len(self.seconds) // 2
        if len(self.seconds) - half < 2:
            return float("nan")
        return float(np.polyfit(self.seconds[half:], self.mib[half:], 1)[0] * 60)

    def table(self) -> Table:
        """As a table."""

        def draw(axes: Axes) -> None:
            axes.plot(self.seconds, self.mib)
            axes.set_ylim(bottom=0)
            axes.set_xlabel("seconds under load")
            axes.set_ylabel("MiB held by the server")

        row = (self.mib[0], max(self.mib), self.mib[-1], self.slope, self.seconds[-1])
        columns = ("at first MiB", "at most MiB", "at last MiB", "second half MiB/min", "seconds")
        return Table("load_memory", "Memory of the server under load", columns, [row], draw)


@contextlib.contextmanager
def watching(server: Server) -> Iterator[Memory]:
    """Look at a server's memory from time to time, as long as this is open."""
    memory, over, began = Memory(), threading.Event(), time.perf_counter()

    def watch() -> None:
        while True:
            memory.seconds.append(time.perf_counter() - began)
            memory.mib.append(server.resident / MIB)
            if over.wait(INTERVAL):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        over.set()
        thread.join()


def drain(server: Server, load: Load) -> Outcome:
    """Stop a server under load with SIGTERM; what comes of the calls, and in the name how the server ended."""
    return asyncio.run(_drain(server, load))


async def _drain(server: Server, load: Load) -> Outcome:
    outcome = Outcome("")
    generating = asyncio.create_task(generate(load, outcome))
    await asyncio.sleep(BEFORE_STOP)
    began = time.perf_counter()
    server.process.terminate()
    code = await asyncio.to_thread(server.process.wait, STOP_SECONDS)
    outcome.name = f"SIGTERM under load: exit code {code} after {time.perf_counter() - began:.1f} s"
    generating.cancel()
    await asyncio.gather(generating, return_exceptions=True)
    return outcome
