"""The cost of a call directly, by a target of two plain servers, and through Ray's HAProxy, in turns."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.axes import Axes

from benchmarks.calls.baselines import SHAPE
from benchmarks.harness import Seconds, Variant, calling, interleave, median
from benchmarks.report import Cell, Table, Target, grouped_bars, p50_p99
from benchmarks.scale.cluster import MODELS, started
from benchmarks.scale.load import SCENE
from benchmarks.servers import serving
from worldforge_jepa_client import Client

SECONDS, CALLS = 60, 10
DIRECT, TIER_1, TIER_2 = "directly", "plain servers", "Ray Serve"
UNARY, STREAM, PLAN = "unary S", "stream S", "iteration of Plan"
MODEL, MOST = "empty", 1.5


def measure(effort: float) -> Table:
    """Score S (300 candidates, 72 KB) in unary calls and in a session, and plan, in turns over the three ways."""
    with targets() as ways, contextlib.ExitStack() as stack:
        variants: dict[str, Variant] = {}
        for way, target in ways.items():
            client = stack.enter_context(Client(target, timeout=60))
            variants |= {f"{kind}, {way}": variant for kind, variant in _calls(client, stack).items()}
        return _table(interleave(variants, SECONDS * effort, calls=CALLS))


@contextlib.contextmanager
def targets() -> Iterator[dict[str, str]]:
    """Start two plain servers and two replicas on Ray Serve, with the same models; yield the target of each way."""
    with TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "plain.toml").write_text(MODELS)
        flags = ("--config", str(folder / "plain.toml"))
        first, second = (stack.enter_context(serving(*flags)).target for _ in range(2))
        cluster = stack.enter_context(started(folder))
        yield {DIRECT: first, TIER_1: f"ipv4:{first},{second}", TIER_2: cluster.target}


def _calls(client: Client, stack: contextlib.ExitStack) -> dict[str, Variant]:
    candidates = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    session = stack.enter_context(client.session(**SCENE, model=MODEL))
    samples, horizon = SHAPE[1:3]

    def plan(iterations: int) -> list[float]:
        progress = client.plan(**SCENE, model=MODEL, samples=samples, horizon=horizon, iterations=iterations)
        arrivals = [time.perf_counter(), *(time.perf_counter() for _ in progress)]
        steps: list[float] = np.diff(arrivals).tolist()
        return steps

    return {
        UNARY: calling(partial(client.score, **SCENE, action_candidates=candidates, model=MODEL)),
        STREAM: calling(partial(session.score, candidates)),
        PLAN: plan,
    }


def _table(taken: dict[str, Seconds]) -> Table:
    ways, kinds = (DIRECT, TIER_1, TIER_2), (UNARY, STREAM, PLAN)
    medians = {name: median(seconds) for name, seconds in taken.items()}

    def ratio(kind: str, way: str) -> float:
        return medians[f"{kind}, {way}"] / medians[f"{kind}, {DIRECT}"]

    rows: list[list[Cell]] = []
    for way in ways:
        row: list[Cell] = [way]
        for kind in kinds:
            row += [*p50_p99(taken[f"{kind}, {way}"]), ratio(kind, way)]
        rows.append(row)

    def draw(axes: Axes) -> None:
        series: dict[str, Sequence[float]] = {way: [1e3 * medians[f"{kind}, {way}"] for kind in kinds] for way in ways}
        grouped_bars(axes, kinds, series)
        axes.set_xlabel("median time, ms")

    columns = ["through", *(f"{kind} {what}" for kind in kinds for what in ("p50 ms", "p99", "x direct"))]
    bounds = [
        Target(f"{kind} through Ray Serve, in times of a direct call", ratio(kind, TIER_2), MOST)
        for kind in (UNARY, STREAM)
    ]
    title = "A call directly, by a target of two servers, and through Ray's HAProxy: a model that costs nothing"
    return Table("scale_latency", title, columns, rows, draw, bounds)
