"""`python -m tests.fuzz`: send inputs to a server of its own, and tell what came of them; exits with 1 where one failed."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

import numpy as np

from tests.fuzz.run import Outcome, fuzz
from tests.support.scenes import raw_candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.tools.exit_code import exit_code
from worldforge_jepa_client.tools.local_server import ready_address, start, stop

FLAGS = ("--model", "tiny", "--model", "other=tiny", "--threads", "1", "--log-level", "error")
BOUNDS = ("--queue-size", "20000", "--memory-budget", "256MiB", "--cache-mib", "64", "--plan-seconds", "5")
GROWTH_MIB, SHOWN = 1024, 5


def main() -> int:
    """Fuzz."""
    parser = argparse.ArgumentParser("tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="how many (default: 100000)")
    parser.add_argument("--seed", type=int, default=0, help="makes the inputs (default: 0)")
    arguments = parser.parse_args()
    process = start("--listen", "127.0.0.1:0", *FLAGS, *BOUNDS)
    try:
        return _run(process.pid, ready_address(process, 120), arguments.inputs, arguments.seed)
    finally:
        stop(process)


def _run(pid: int, target: str, count: int, seed: int) -> int:
    with Client(target, timeout=60) as client:
        before = client.score(**scene(), **raw_candidates()).scores
        began, resident = time.perf_counter(), memory_mib(pid, "VmRSS")
        outcome = asyncio.run(fuzz(target, count, seed))
        seconds = time.perf_counter() - began
        same = np.array_equal(client.score(**scene(), **raw_candidates()).scores, before)
    grown = memory_mib(pid, "VmHWM") - resident
    _tell(outcome, seconds, grown)
    return int(bool(outcome.wrong) or not same or grown > GROWTH_MIB)


def _tell(outcome: Outcome, seconds: float, grown: float) -> None:
    print(
        f"{outcome.statuses.total():,} inputs in {seconds:.0f} s; the server's memory grew by {grown:.0f} MiB at most"
    )
    for status, count in outcome.statuses.most_common():
        print(f"{status:>22} {count:>8,}")
    probes = np.array(outcome.probes) * 1e3
    print(f"health answered {len(probes):,} times: median {np.median(probes):.1f} ms, slowest {probes.max():.0f} ms")
    for made, details in outcome.wrong[:SHOWN]:
        print(f"wrong: {made.path}: {details}: {[message[:200] for message in made.messages]}")


def memory_mib(pid: int, key: str) -> float:
    """Return a figure of /proc/PID/status, in MiB (Linux)."""
    with Path(f"/proc/{pid}/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key))


if __name__ == "__main__":
    sys.exit(exit_code("tests.fuzz", main))
