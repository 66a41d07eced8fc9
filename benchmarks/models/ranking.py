"""(l) How a precision ranks candidates: far from one another, as a planner's first, and near, as its last.

Native jepa_wm_pusht in full size with random weights. Where the CPU has no instructions for a precision, the same
products are made in float32.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from matplotlib.axes import Axes

from benchmarks.models.precision import PRECISIONS, PUSHT, Scores, Setting, compared, cpu_name, scoring, synthetic
from benchmarks.report import Cell, Table, Target
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.models.devices import multiplies
from worldforge_jepa_server.tools.parity import rank_correlation

_SAMPLES = 64
_KINDS: dict[str, float | None] = {"far": None, "near": 0.1}
"""The standard deviation of the candidates around one of them, in those of the training data; None draws each anew."""


def measure(effort: float) -> Table:
    """Score each kind once in each precision; `effort` scales the number of candidates."""
    setting = Setting(samples=max(2, round(_SAMPLES * effort)))
    use_threads(setting.threads)
    scores: dict[tuple[str, str], Scores] = {}
    with Progress("scoring", len(PRECISIONS) * len(_KINDS)) as bar:
        for precision in PRECISIONS:
            model = synthetic({"precision": precision})
            emulate = not multiplies(getattr(torch, precision), "cpu")
            for kind, spread in _KINDS.items():
                scores[kind, precision] = scoring(model, replace(setting, spread=spread, emulate=emulate))()
                bar.show(len(scores))
    return _table(scores, setting)


def _table(scores: dict[tuple[str, str], Scores], setting: Setting) -> Table:
    rows: list[tuple[Cell, ...]] = []
    correlations: dict[str, float] = {}
    for kind in _KINDS:
        exact = scores[kind, "float32"]
        for precision in PRECISIONS[1:]:
            name, found = f"{precision}, {kind}", scores[kind, precision]
            correlations[name] = rank_correlation(found, exact)
            rows.append((name, f"{exact.std():.2e}", *compared(found, exact)))

    def draw(axes: Axes) -> None:
        axes.barh(list(correlations), list(correlations.values()))
        axes.set_xlim(min(correlations.values()) - 0.01, 1)
        axes.set_xlabel("Spearman's rank correlation with float32")

    return Table(
        "ranking",
        f"{PUSHT} with random weights: {setting.samples} candidates, horizon {setting.horizon}, on {cpu_name()}",
        ("", "standard deviation of scores", "largest difference", "Spearman", "same best"),
        rows,
        draw,
        [
            Target(f"rank correlation of {each}'s scores and float32's, far", correlations[f"{each}, far"], 0.997, True)
            for each in PRECISIONS[1:]
        ],
    )
