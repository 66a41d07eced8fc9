"""Watch a server by its metrics: calls, percentiles, queue, batches, models, cache and errors by reason.

The server publishes them with `--metrics-address`. Rates and percentiles are those of the last interval.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from worldforge_jepa_client.tools.operate.figures import figures
from worldforge_jepa_client.tools.operate.metrics import Interval, read_metrics

DEFAULT_URL = "http://127.0.0.1:9464/metrics"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("--metrics", default=DEFAULT_URL, metavar="URL", help=f"of the server (default: {DEFAULT_URL})")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two readings (default: 1)")
    parser.add_argument("--count", type=int, help="readings to show, then end (default: until Ctrl-C)")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds that a reading may take (default: 10)")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each reading")


def run(arguments: argparse.Namespace) -> int:
    """Show one reading after the other; return 0 at the end."""
    readings = itertools.islice(_readings(arguments), arguments.count)
    try:
        if arguments.json:
            for reading in readings:
                print(json.dumps(reading), flush=True)
        else:
            _show(readings)
    except KeyboardInterrupt:
        pass
    return 0


def _readings(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    before = read_metrics(arguments.metrics, arguments.timeout)
    while True:
        time.sleep(arguments.interval)
        now = read_metrics(arguments.metrics, arguments.timeout)
        yield figures(Interval(before, now))
        before = now


def _show(readings: Iterator[dict[str, Any]]) -> None:
    console = Console()
    if not console.is_terminal:
        for reading in readings:
            console.print(screen(reading))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for reading in readings:
            live.update(screen(reading), refresh=True)


def screen(reading: dict[str, Any]) -> RenderableType:
    """Return figures as tables, one below the other."""
    state = "ready" if reading["ready"] else "not ready"
    head = f"worldforge-jepa-server {reading['version'] or ''}: {state}, {reading['streams']:.0f} streams"
    return Group(head, _methods(reading), _models(reading), _device(reading), _errors(reading))


def _methods(reading: dict[str, Any]) -> Table:
    table = _table("method", "calls/s", "messages/s", "failed/s", "p50 ms", "p99 ms")
    for name, method in reading["methods"].items():
        table.add_row(name, *map(_number, method.values()))
    return table


def _models(reading: dict[str, Any]) -> Table:
    stages = sorted({stage for model in reading["models"].values() for stage in model["stages"]})
    table = _table("model", "candidates/s", "steps/s", *(f"{stage} ms" for stage in stages))
    for name, model in reading["models"].items():
        times = (model["stages"].get(stage) for stage in stages)
        table.add_row(name, *map(_number, (model["candidates"], model["candidate_steps"], *times)))
    return table


def _device(reading: dict[str, Any]) -> Table:
    queue, cache, table = reading["queue"], reading["cache"], _table("device", "")
    table.add_row("queue, candidates x horizon", f"{queue['candidate_steps']:,.0f} of {queue['limit']:,.0f}")
    table.add_row("batches/s", _number(queue["batches"]))
    table.add_row("requests of a batch", _number(queue["requests_of_a_batch"]))
    table.add_row("candidates of a batch", _number(queue["candidates_of_a_batch"]))
    table.add_row("cache", f"{cache['bytes'] / 2**20:,.1f} MiB, {cache['contexts']:.0f} contexts")
    table.add_row("encodings found in it", "-" if cache["hit_share"] is None else f"{cache['hit_share']:.0%}")
    for kind, size in reading["memory"].items():
        table.add_row(f"memory, {kind}", f"{size / 2**20:,.1f} MiB")
    return table


def _errors(reading: dict[str, Any]) -> Table:
    table = _table("errors by reason", "errors/s", "since the start")
    for reason, error in reading["errors"].items():
        table.add_row(reason, _number(error["rate"]), f"{error['total']:.0f}")
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column(first, min_width=26)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
