"""(g) The time that shared memory saves a unary call with its scene, on a model that costs next to nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from benchmarks.calls.baselines import SHAPE
from benchmarks.harness import Seconds, Variant, calling, interleave, median
from benchmarks.report import Table, Target, grouped_bars, p50_p99
from benchmarks.servers import serving
from worldforge_jepa_client import Client

SECONDS, CALLS = 20, 10
INLINE, SHARED = "inline", "shared"
LARGE = "480 x 640, float32"

Array = npt.NDArray[Any]


def measure(effort: float) -> Table:
    """Score in each scene both variants, in turns, each variant on a server of its own."""
    flags = ("--model", "trivial", "--threads", "1")
    with (
        serving(*flags, module="benchmarks.trivial") as plain,
        serving(*flags, "--shared-memory", module="benchmarks.trivial") as reading,
        Client(plain.target, timeout=60) as inline,
        Client(reading.target, timeout=60, shared_memory=True) as sharing,
    ):
        variants = {
            f"{variant}, {scene}": _scoring(client, frame)
            for scene, frame in _frames().items()
            for variant, client in ((INLINE, inline), (SHARED, sharing))
        }
        return _table(interleave(variants, SECONDS * effort, calls=CALLS))


def _frames() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1, 1, 3, *size), np.uint8) for size in ((224, 224), (480, 640))]
    frames = [image.astype(dtype) for image in images for dtype in (np.uint8, np.float32)]
    return {f"{frame.shape[-2]} x {frame.shape[-1]}, {frame.dtype}": frame for frame in frames}


def _scoring(client: Client, frame: Array) -> Variant:
    candidates = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    return calling(lambda: client.score(observation=frame, goal=frame, action_candidates=candidates))


def _table(taken: dict[str, Seconds]) -> Table:
    frames = _frames()
    ratios = {scene: median(taken[f"{SHARED}, {scene}"]) / median(taken[f"{INLINE}, {scene}"]) for scene in frames}
    rows = [
        (
            scene,
            (2 * frame.nbytes + 4 * math.prod(SHAPE)) / 1e6,
            *p50_p99(taken[f"{INLINE}, {scene}"]),
            *p50_p99(taken[f"{SHARED}, {scene}"]),
            ratios[scene],
        )
        for scene, frame in frames.items()
    ]

    def draw(axes: Axes) -> None:
        times: dict[str, Sequence[float]] = {
            variant: [1e3 * median(taken[f"{variant}, {scene}"]) for scene in frames] for variant in (INLINE, SHARED)
        }
        grouped_bars(axes, list(frames), times)
        axes.set_xlabel("median time of a call, ms")

    return Table(
        "shared_memory",
        "A unary call that brings its scene, inline and through shared memory: trivial model, two frames",
        ("frames", "MB", "inline p50 ms", "inline p99", "shared p50 ms", "shared p99", "x inline"),
        rows,
        draw,
        [Target(f"two frames of {LARGE}, through shared memory, in times of inline", ratios[LARGE], 0.67)],
    )
