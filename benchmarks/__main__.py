"""`python -m benchmarks [TABLE...]`: measure, print the tables, and write them with their pictures to a directory."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.report import Table, text
from worldforge_jepa_client.tools.exit_code import exit_code

CALLS = ("wire", "shared_memory", "observed", "concurrency", "responsiveness", "proxies")
MODELS = ("planning", "memory", "startup", "precision", "ranking", "peak")
PLACES = (
    {name: f"calls.{name}" for name in CALLS} | {name: f"models.{name}" for name in MODELS} | {"threads": "threads"}
)
TABLES = tuple(PLACES)
SCALE = ("scale.latency", "scale.replicas")
"""Measured only where they are named, since Ray takes a minute to start; `make bench-scale` names them."""


def main() -> int:
    """Run; return 0 whether the targets were met or not, since it is for the reader to judge."""
    arguments = _arguments()
    for name in arguments.tables or TABLES:
        began, load = time.perf_counter(), os.getloadavg()[0]
        table: Table = importlib.import_module(f"benchmarks.{PLACES.get(name, name)}").measure(arguments.effort)
        table.save(arguments.results, _run(load, time.perf_counter() - began, arguments))
        print(text(table), flush=True)
    return 0


def _run(load: float, seconds: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Where, when and how a table was made."""
    return {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds)),
        "seconds": round(seconds),
        "effort": arguments.effort,
        "cores": len(os.sched_getaffinity(0)),
        "load_before": load,
        "python": platform.python_version(),
        **{package: version(package) for package in ("grpcio", "numpy", "protobuf", "torch")},
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"some of {', '.join(TABLES + SCALE)} (default: all but scale)"
    )
    parser.add_argument("--effort", type=float, default=1.0, help="scales how long each is measured (default: 1)")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="where the files go")
    arguments = parser.parse_args()
    unknown = set(arguments.tables) - {*TABLES, *SCALE}
    if unknown:
        parser.error(f"no table {', '.join(unknown)}; there are {', '.join(TABLES + SCALE)}")
    return arguments


if __name__ == "__main__":
    sys.exit(exit_code("benchmarks", main))
