"""`python -m benchmarks.load`: load a server for a while, unary and streaming, and say what came of it.

ghz makes the load where it is installed, our own generator elsewhere; both send the files of `worldforge-jepa
calldata` and give the same report. Without a target it starts a server, watches its memory, and in the end stops it
under load.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.load import generator, ghz
from benchmarks.load.outcome import Load, Outcome, table
from benchmarks.load.watch import drain, watching
from benchmarks.report import Table, text
from benchmarks.servers import serving
from worldforge_jepa_client import Client
from worldforge_jepa_client.tools.calldata import calldata, delimited
from worldforge_jepa_client.tools.exit_code import exit_code
from worldforge_jepa_client.tools.progress import Progress

OPEN_SHARE = 0.7
"""Of the rate that the closed loop reached; what the open loop asks for."""
_UNITS = {"s": 1, "m": 60}


def main() -> None:
    """Load, print and write."""
    arguments = _arguments()
    trouble = ghz.unusable() if arguments.generator != "own" else ""
    by_ghz = arguments.generator != "own" and not trouble
    if trouble:
        print(trouble)
    with contextlib.ExitStack() as stack:
        server = None if arguments.target else stack.enter_context(serving("--model", arguments.model))
        target = server.target if server else arguments.target
        loads = _loads(arguments, target)
        with watching(server) if server else contextlib.nullcontext() as memory:
            outcomes = list(_made(loads, ghz.run if by_ghz else generator.run))
        if server:
            outcomes.append(drain(server, loads[0]))
    _report(
        [table(outcomes, "ghz" if by_ghz else "our own generator"), *([memory.table()] if memory else [])], arguments
    )


def _loads(arguments: argparse.Namespace, target: str) -> list[Load]:
    """Unary calls and streams, each for a third of the time; the rest is for the open loop."""
    files = _write_calldata(arguments, target)
    return [
        Load(target, method, path, arguments.duration / 3, arguments.connections, arguments.concurrency)
        for method, path in files.items()
    ]


def _write_calldata(arguments: argparse.Namespace, target: str) -> dict[str, Path]:
    with Client(target, timeout=60) as client:
        spec = client.model()
    shape = {"samples": arguments.samples, "horizon": arguments.horizon, "count": arguments.messages}
    requests, files = calldata(spec, **shape, seed=0), {}
    arguments.results.mkdir(parents=True, exist_ok=True)
    for method in ("Score", "ScoreStream"):
        files[method] = arguments.results / f"{method}.bin"
        files[method].write_bytes(delimited(requests[method]))
    return files


def _made(loads: list[Load], run: Callable[[Load], Outcome]) -> Iterator[Outcome]:
    """Each load in a closed loop, and unary calls in an open one, at a rate that the server can bear."""
    unary, stream = loads
    closed = _shown(unary, run)
    yield closed
    yield _shown(stream, run)
    yield _shown(replace(unary, rate=max(1.0, OPEN_SHARE * closed.rate)), run)


def _shown(load: Load, run: Callable[[Load], Outcome]) -> Outcome:
    with Progress(f"{load.method} for {load.seconds:.0f} s"):
        return run(load)


def _report(tables: Sequence[Table], arguments: argparse.Namespace) -> None:
    flags = {name: value if isinstance(value, int | float) else str(value) for name, value in vars(arguments).items()}
    for each in tables:
        each.save(arguments.results, {**flags, "cores": len(os.sched_getaffinity(0))})
        print(text(each))
    print(f"tables and pictures: {arguments.results}")


def _seconds(duration: str) -> float:
    """Parse 90, 90s or 10m."""
    number, unit = (duration[:-1], duration[-1]) if duration[-1:] in _UNITS else (duration, "s")
    return float(number) * _UNITS[unit]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.load", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--target", help="a running server (default: one is started)")
    parser.add_argument("--model", default="tiny", help="of the server that is started (default: tiny)")
    parser.add_argument("--generator", choices=("any", "ghz", "own"), default="any", help="default: ghz if it is there")
    parser.add_argument("--duration", type=_seconds, default="30s", help="of all loads together (default: 30s)")
    parser.add_argument("--connections", type=int, default=4, help="(default: 4)")
    parser.add_argument("--concurrency", type=int, default=16, help="callers of the closed loops (default: 16)")
    parser.add_argument("--samples", type=int, default=16, help="candidates of a message (default: 16)")
    parser.add_argument("--horizon", type=int, default=6, help="actions of a candidate (default: 6)")
    parser.add_argument("--messages", type=int, default=8, help="of a stream (default: 8)")
    parser.add_argument("--results", type=Path, default=Path("build/load"), help="(default: build/load)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_code("benchmarks.load", main))
