"""(k) The share of the machine's matrix peak that a native score reaches: operations counted over time taken.

The peak is measured in the same run, in turn with the scores, by the matrix products of the model's own shapes; and so
is torch's attention, which bounds the share: as if all products ran at the peak and nothing else took any time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from matplotlib.axes import Axes

from benchmarks.harness import Seconds, calling, interleave, median
from benchmarks.models.flops import Attention, Products, score_operations
from benchmarks.models.precision import PUSHT, Setting, cpu_name, scoring, synthetic
from benchmarks.report import Cell, Table, Target
from worldforge_jepa_server.app.system import tune_malloc
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.models.devices import multiplies

SECONDS = 60
_TIMES = {"products": 20, "attention": 50}  # so that each is measured for about a second
_BOUNDS = {"float32": 0.85, "bfloat16": 0.7}
Variant = Callable[[], object]


def measure(effort: float, setting: Setting | None = None) -> Table:
    """Native jepa_wm_pusht in full size with random weights; bfloat16 where the CPU multiplies in it."""
    setting = setting or Setting()
    use_threads(setting.threads)
    tune_malloc()  # as a server does
    variants: dict[str, Variant] = {}
    for precision in (each for each in _BOUNDS if multiplies(getattr(torch, each), "cpu")):
        variants[f"{precision} score"] = scoring(synthetic({"precision": precision}), setting)
        for kind, part in _parts().items():
            variants[f"{precision} {kind}"] = partial(_repeat, part.on("cpu", getattr(torch, precision)), _TIMES[kind])
    taken = interleave({name: calling(each) for name, each in variants.items()}, SECONDS * effort)
    return _table(taken, setting)


def _parts() -> dict[str, Products | Attention]:
    return {"products": Products.of(PUSHT), "attention": Attention.of(PUSHT)}


def _repeat(work: Variant, times: int) -> None:
    for _ in range(times):
        work()


def _table(taken: dict[str, Seconds], setting: Setting) -> Table:
    operations = score_operations(PUSHT, setting.samples, setting.horizon)
    counts = {"score": operations.all, **{kind: _TIMES[kind] * part.flops for kind, part in _parts().items()}}
    rows: list[tuple[Cell, ...]] = []
    shares = {}
    for precision in _BOUNDS:
        if f"{precision} score" not in taken:
            rows.append((precision, "-", "-", "-", "-", "no instructions for it", "-"))
            continue
        rate, peak, attention = (count / taken[f"{precision} {kind}"] / 1e9 for kind, count in counts.items())
        shares[precision] = median(rate / peak)
        most = operations.all / (operations.products + operations.attention * median(peak / attention))
        rates = (median(each) for each in (rate, peak, attention))
        share, bound = f"{shares[precision]:.0%}", f"{most:.0%}"
        rows.append((precision, median(taken[f"{precision} score"]), *rates, share, bound))

    def draw(axes: Axes) -> None:
        axes.barh(list(shares), list(shares.values()))
        axes.set_xlabel("share of the matrix peak")

    return Table(
        "peak",
        f"{PUSHT} with random weights: {setting.samples} candidates, horizon {setting.horizon}, {setting.threads} "
        f"threads, {operations.all / 1e9:.0f} GFLOP, {operations.attention / operations.all:.0%} of them attention, on "
        f"{cpu_name()}",
        ("", "median s", "GFLOP/s", "peak GFLOP/s", "attention GFLOP/s", "share of peak", "at most"),
        rows,
        draw,
        [Target(f"share of peak, {name}", share, _BOUNDS[name], at_least=True) for name, share in shares.items()],
    )
