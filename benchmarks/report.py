"""The report of a measurement: a table, its targets, and a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from benchmarks.harness import Seconds, median, p99

mpl.use("Agg")
from matplotlib import pyplot as plt

Cell = str | float

ENOUGH = 300
"""Measurements; a 99th percentile of fewer rests on three of them or less."""


@dataclass(frozen=True)
class Target:
    """A bound that a measurement is held against, from above unless `at_least`."""

    claim: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Return True if the measurement keeps to the bound; NaN does not."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


@dataclass(frozen=True)
class Table:
    """One measurement; `draw` makes its picture."""

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    draw: Callable[[Axes], None]
    targets: Sequence[Target] = ()

    def save(self, directory: Path, run: dict[str, Any]) -> None:
        """Write `<name>.json`, with what is known of the run, `<name>.md` and `<name>.png`."""
        directory.mkdir(parents=True, exist_ok=True)
        content = {
            "title": self.title,
            "run": run,
            "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
            "targets": [{**asdict(target), "met": target.met} for target in self.targets],
        }
        (directory / f"{self.name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (directory / f"{self.name}.md").write_text(text(self), encoding="utf-8")
        figure, axes = plt.subplots(figsize=(7.2, 4))
        self.draw(axes)
        axes.set_title(self.title, fontsize=9, wrap=True)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(directory / f"{self.name}.png", dpi=130)
        plt.close(figure)


def text(table: Table) -> str:
    """The table as Markdown, aligned, with its targets below."""
    rows = [[cell(value) for value in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(table.columns, *rows, strict=True)]
    marks = ["-" * width if index == 0 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    lines = [_line(row, widths) for row in (table.columns, marks, *rows)]
    targets = [
        f"- {'met' if target.met else '**missed**'}: {target.claim}: {cell(target.measured)}, "
        f"target {'>=' if target.at_least else '<='} {cell(target.bound)}"
        for target in table.targets
    ]
    return "\n".join([f"### {table.title}", "", *lines, *([""] if targets else []), *targets, ""])


def p50_p99(seconds: Sequence[float] | Seconds, unit: float = 1e3) -> tuple[float, Cell]:
    """Median and 99th percentile, in ms or another `unit` of the second; of few seconds the most, as `max of N`."""
    scaled = np.asarray(seconds) * unit
    late = p99(scaled) if len(scaled) >= ENOUGH else f"{cell(scaled.max())} (max of {len(scaled)})"
    return median(scaled), late


def grouped_bars(axes: Axes, groups: Sequence[str], series: dict[str, Sequence[float]]) -> None:
    """One group of bars for each name in `groups`, one bar in it for each of `series`; logarithmic."""
    width = 0.8 / len(series)
    for index, (label, values) in enumerate(series.items()):
        axes.barh([group + index * width for group in range(len(groups))], values, width, label=label)
    axes.set_yticks([group + 0.4 - width / 2 for group in range(len(groups))], groups)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.legend(fontsize=8, frameon=False)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return " | ".join([f"| {first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in rest)]) + " |"


def cell(value: Cell) -> str:
    """Three significant digits, but every digit before the point."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
