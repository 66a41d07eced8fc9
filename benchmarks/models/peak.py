"""(k) The share of the machine's matrix peak that a native score reaches: operations counted over time taken.

The peak is measured in the same run, in turn with the scores, by the matrix products of the model's own shapes; and so
is torch's attention, which bounds the share: as if all products ran at the peak and nothing else took any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from matplotlib.axes import Axes

from benchmarks.harness import Seconds, calling, interleave, median
from benchmarks.models.flops import Attention, Operations, Products, score_operations
from benchmarks.models.precision import PUSHT, Setting, cpu_name, scoring, synthetic
from benchmarks.report import Cell, Table, Target
from worldforge_jepa_server.app.system import tune_malloc
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models.devices import multiplies
from worldforge_jepa_server.runtime.model_table import deploy

SECONDS = 60
_SAMPLES = (8, 64)
_TIMES = {"products": 20, "attention": 50}  # so that each is measured for about a second
_BOUNDS = {"float32": 0.85, "bfloat16": 0.7}
Variant = Callable[[], object]


@dataclass(frozen=True)
class Share:
    """What a precision reached with S candidates: median seconds of a score, and GFLOP/s.

    Attributes:
        peak: GFLOP/s of the products.
        attention: of torch's attention.
        of_peak: the share that a score reached.
        at_most: the share that products and attention alone would reach.
    """

    precision: str
    samples: int
    seconds: float
    rate: float
    peak: float
    attention: float
    of_peak: float
    at_most: float


def measure(effort: float) -> Table:
    """Native jepa_wm_pusht in full size with random weights; bfloat16 where the CPU multiplies in it.

    As many candidates go at a time as with a server's own settings.
    """
    tune_malloc()  # as a server does
    settings = [Setting(samples=samples) for samples in _SAMPLES]
    return _table([share for setting in settings for share in _shares(setting, SECONDS * effort)], settings[0])


def _shares(setting: Setting, seconds: float) -> list[Share]:
    use_threads(setting.threads)
    precisions = [each for each in _BOUNDS if multiplies(getattr(torch, each), "cpu")]
    variants: dict[str, Variant] = {}
    for precision in precisions:
        model = synthetic({"precision": precision})
        served = deploy(model, warm_up(model), ServerConfig())
        variants[f"{precision} score"] = scoring(model, replace(setting, chunk=served.runner.chunk))
        for kind, part in _parts().items():
            variants[f"{precision} {kind}"] = partial(_repeat, part.on("cpu", getattr(torch, precision)), _TIMES[kind])
    taken = interleave({name: calling(each) for name, each in variants.items()}, seconds)
    operations = score_operations(PUSHT, setting.samples, setting.horizon)
    return [_share(precision, setting.samples, operations, taken) for precision in precisions]


def _parts() -> dict[str, Products | Attention]:
    return {"products": Products.of(PUSHT), "attention": Attention.of(PUSHT)}


def _repeat(work: Variant, times: int) -> None:
    for _ in range(times):
        work()


def _share(precision: str, samples: int, operations: Operations, taken: dict[str, Seconds]) -> Share:
    counts = {"score": operations.all, **{kind: _TIMES[kind] * part.flops for kind, part in _parts().items()}}
    rate, peak, attention = (count / taken[f"{precision} {kind}"] / 1e9 for kind, count in counts.items())
    at_most = operations.all / (operations.products + operations.attention * median(peak / attention))
    seconds = median(taken[f"{precision} score"])
    rates = (median(rate), median(peak), median(attention))
    return Share(precision, samples, seconds, *rates, median(rate / peak), at_most)


def _table(shares: list[Share], setting: Setting) -> Table:
    names = [f"{share.precision}, {share.samples} candidates" for share in shares]
    rows: list[tuple[Cell, ...]] = [
        (name, share.seconds, share.rate, share.peak, share.attention, f"{share.of_peak:.0%}", f"{share.at_most:.0%}")
        for name, share in zip(names, shares, strict=True)
    ]
    rows += [
        (precision, "-", "-", "-", "-", "no instructions for it", "-")
        for precision in _BOUNDS
        if precision not in {share.precision for share in shares}
    ]

    def draw(axes: Axes) -> None:
        axes.barh(names, [share.of_peak for share in shares])
        axes.set_xlabel("share of the matrix peak")

    return Table(
        "peak",
        f"{PUSHT} with random weights: horizon {setting.horizon}, {setting.threads} threads, on {cpu_name()}",
        ("", "median s", "GFLOP/s", "peak GFLOP/s", "attention GFLOP/s", "share of peak", "at most"),
        rows,
        draw,
        [
            Target(f"share of peak, {name}", share.of_peak, _BOUNDS[share.precision], at_least=True)
            for name, share in zip(names, shares, strict=True)
        ],
    )
