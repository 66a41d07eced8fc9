"""(k) What metrics and a JSON log line for each call add to a small call, on a model that costs next to nothing."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from benchmarks.calls.baselines import SHAPE
from benchmarks.harness import Seconds, Variant, calling, interleave, median
from benchmarks.report import Table, Target, grouped_bars, p50_p99
from benchmarks.servers import serving
from worldforge_jepa_client import Client

SECONDS, CALLS = 30, 10
BARE, CONTROL, METRICS, OBSERVED = "neither", "neither, again", "metrics", "metrics and log"
FLAGS = {
    BARE: (),
    CONTROL: (),  # how far two servers of one kind are apart
    METRICS: ("--metrics-address", "127.0.0.1:0"),
    OBSERVED: ("--metrics-address", "127.0.0.1:0", "--log-level", "info", "--log-format", "json"),
}


def measure(effort: float) -> Table:
    """Score on a stream and by unary calls, in turns on a server each; the logs go to files."""
    with contextlib.ExitStack() as stack:
        variants: dict[str, Variant] = {}
        for name, flags in FLAGS.items():
            log = stack.enter_context(tempfile.TemporaryFile("w+"))
            told = ("--model", "trivial", "--threads", "1", *flags)
            server = stack.enter_context(serving(*told, module="benchmarks.trivial", log=log))
            variants |= _scoring(stack, stack.enter_context(Client(server.target, timeout=60)), name)
        return _table(interleave(variants, SECONDS * effort, calls=CALLS))


def _scoring(stack: contextlib.ExitStack, client: Client, name: str) -> dict[str, Variant]:
    frame = np.zeros((1, 1, 3, 8, 8), np.uint8)
    candidates = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    session = stack.enter_context(client.session(observation=frame, goal=frame))
    return {
        f"stream, {name}": calling(lambda: session.score(candidates)),
        f"unary, {name}": calling(lambda: client.score(observation=frame, goal=frame, action_candidates=candidates)),
    }


def _table(taken: dict[str, Seconds]) -> Table:
    medians = {name: median(seconds) for name, seconds in taken.items()}
    ratios = {
        f"{call}, {name}": 2 * medians[f"{call}, {name}"] / (medians[f"{call}, {BARE}"] + medians[f"{call}, {CONTROL}"])
        for call in ("stream", "unary")
        for name in FLAGS
    }
    rows = [(name, *p50_p99(taken[name]), ratio) for name, ratio in ratios.items()]

    def draw(axes: Axes) -> None:
        times: dict[str, Sequence[float]] = {
            name: [1e3 * medians[f"{call}, {name}"] for call in ("stream", "unary")] for name in FLAGS
        }
        grouped_bars(axes, ["stream", "unary"], times)
        axes.set_xlabel("median time of a call, ms")

    return Table(
        "observed",
        "What metrics and a JSON log line for each call add to a call of 72 KB: trivial model",
        ("call, beside it", "p50 ms", "p99", "x neither"),
        rows,
        draw,
        [Target("a stream call with metrics and log, in times of neither", ratios[f"stream, {OBSERVED}"], 1.03)],
    )
