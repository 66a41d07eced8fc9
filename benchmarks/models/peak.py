"""(k) The share of the machine's matrix peak that a native score reaches: operations counted over time taken.

The peak is measured in the same run, in turn with the scores, by the matrix products of the model's own shapes.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from matplotlib.axes import Axes

from benchmarks.harness import Seconds, calling, interleave, median
from benchmarks.models.flops import Products, score_flops
from benchmarks.models.precision import PUSHT, Setting, scoring, synthetic
from benchmarks.report import Cell, Table, Target
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.models.devices import multiplies

SECONDS = 60
_PRODUCTS = 20  # so that a peak is measured for about a second
_BOUNDS = {"float32": 0.85, "bfloat16": 0.7}
Variant = Callable[[], object]


def measure(effort: float, setting: Setting | None = None) -> Table:
    """Native jepa_wm_pusht in full size with random weights; bfloat16 where the CPU multiplies in it."""
    setting = setting or Setting()
    use_threads(setting.threads)
    variants: dict[str, Variant] = {}
    for precision in (each for each in _BOUNDS if multiplies(getattr(torch, each), "cpu")):
        variants[f"{precision} score"] = scoring(synthetic({"precision": precision}), setting)
        products = Products.of(PUSHT).on("cpu", getattr(torch, precision))
        variants[f"{precision} products"] = partial(_repeat, products)
    taken = interleave({name: calling(each) for name, each in variants.items()}, SECONDS * effort)
    return _table(taken, setting)


def _repeat(products: Variant) -> None:
    for _ in range(_PRODUCTS):
        products()


def _table(taken: dict[str, Seconds], setting: Setting) -> Table:
    operations = {
        "score": score_flops(PUSHT, setting.samples, setting.horizon),
        "products": _PRODUCTS * Products.of(PUSHT).flops,
    }
    rows: list[tuple[Cell, ...]] = []
    shares = {}
    for precision in _BOUNDS:
        if f"{precision} score" not in taken:
            rows.append((precision, "-", "-", "-", "no instructions for it"))
            continue
        score, products = (taken[f"{precision} {kind}"] for kind in operations)
        rate, peak = (operations[kind] / each / 1e9 for kind, each in zip(operations, (score, products), strict=True))
        shares[precision] = median(rate / peak)
        rows.append((precision, median(score), median(rate), median(peak), f"{shares[precision]:.0%}"))

    def draw(axes: Axes) -> None:
        axes.barh(list(shares), list(shares.values()))
        axes.set_xlabel("share of the matrix peak")

    return Table(
        "peak",
        f"{PUSHT} with random weights: {setting.samples} candidates, horizon {setting.horizon}, {setting.threads} "
        f"threads, {operations['score'] / 1e9:.0f} GFLOP, on {_cpu()}",
        ("", "median s", "GFLOP/s", "peak GFLOP/s", "share of peak"),
        rows,
        draw,
        [Target(f"share of peak, {name}", share, _BOUNDS[name], at_least=True) for name, share in shares.items()],
    )


def _cpu() -> str:
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return f"{found.get('cpu_name') or platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"
