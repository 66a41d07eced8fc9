"""`python -m benchmarks.soak`: planners alone, then beside hostile clients; the figures go to docs/reliability.md."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.harness import median
from benchmarks.report import ENOUGH, Target, cell
from benchmarks.servers import MIB, Server, serving
from benchmarks.soak.planners import Outcome, plan
from worldforge_jepa_client.tools.exit_code import exit_code

PAGE = Path("docs/reliability.md")
BEGIN, END = "<!-- soak -->\n", "<!-- end of soak -->\n"
FLAGS = ("--model", "tiny", "--model", "moody=python:benchmarks.soak.models:Moody", "--log-level", "error")
_SHARE, _REST_SECONDS = 0.15, 30.0
_TIMES_QUIET, _TIMES_BASE = 5.0, 1.25


def main() -> int:
    """Soak; return 1 where a target was missed."""
    parser = argparse.ArgumentParser("benchmarks.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="of the whole run (default: 600)")
    parser.add_argument("--page", type=Path, default=PAGE, help=f"where the figures go (default: {PAGE})")
    arguments = parser.parse_args()
    with serving(*FLAGS) as server:
        quiet = asyncio.run(plan(server.target, arguments.seconds * _SHARE))
        base = _at_rest(server)
        server.forget_peak()
        beside = _beside_hostile(server.target, arguments.seconds * (1 - _SHARE))
        text, met = _report(quiet, beside, base, _at_rest(server), server.peak)
    page = arguments.page.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    arguments.page.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}", encoding="utf-8")
    print(text)
    return int(not met)


def _beside_hostile(target: str, seconds: float) -> Outcome:
    with subprocess.Popen([sys.executable, "-m", "benchmarks.soak.hostile", target]) as hostile:
        outcome = asyncio.run(plan(target, seconds))
        hostile.kill()
    return outcome


def _at_rest(server: Server) -> int:
    """Return the memory of a server that has rested long enough to drop and return what it no longer needs."""
    time.sleep(_REST_SECONDS)
    return server.resident


def _report(quiet: Outcome, beside: Outcome, base: int, after: int, peak: int) -> tuple[str, bool]:
    """Return the figures as Markdown, and whether all targets were met."""
    medians, lates = ([1e3 * figure(each.seconds) for each in (quiet, beside)] for figure in (median, _late))
    targets = [
        Target("scores that were wrong", beside.wrong, 0),
        Target("scores that failed", len(beside.errors), 0),
        Target("p99 in times of quiet", lates[1] / lates[0], _TIMES_QUIET),
        Target("memory afterwards, in times of before", after / base, _TIMES_BASE),
    ]
    rows = [
        ("scores", cell(float(len(quiet.seconds))), cell(float(len(beside.seconds)))),
        ("median, ms", cell(medians[0]), cell(medians[1])),
        (f"p99 (of fewer than {ENOUGH} the slowest), ms", cell(lates[0]), cell(lates[1])),
        (
            "memory of the server at rest afterwards, MiB",
            cell(base / MIB),
            f"{cell(after / MIB)} (peak {cell(peak / MIB)})",
        ),
    ]
    lines = [
        f"By `{shlex.join(['python', '-m', 'benchmarks.soak', *sys.argv[1:]])}` on {time.strftime('%Y-%m-%d')}:",
        "",
        "| | planners alone | beside hostile clients |",
        "| --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        *(
            f"- {'met' if each.met else '**missed**'}: {each.claim}: {cell(each.measured)}, at most {cell(each.bound)}"
            for each in targets
        ),
        *(f"- {count} times: {error[:200]}" for error, count in Counter(beside.errors).most_common(3)),
        "",
    ]
    return "\n".join(lines), all(each.met for each in targets)


def _late(seconds: list[float]) -> float:
    return float(np.percentile(seconds, 99) if len(seconds) >= ENOUGH else max(seconds))


if __name__ == "__main__":
    sys.exit(exit_code("benchmarks.soak", main))
