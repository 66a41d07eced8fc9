"""The outcome of a load, from any generator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hdrh.histogram import HdrHistogram
from matplotlib.axes import Axes

from benchmarks.report import Table

_HOUR_US, _DIGITS = 3_600_000_000, 3
_TICKS = 5  # points each time that the distance to 100 % halves
_PERCENTILES = (50, 90, 99, 99.9, 100)
_BEYOND = 3  # as many slower calls, or a percentile is left out


@dataclass(frozen=True)
class Load:
    """Calls of one method, each with the next message of `requests`, or on a stream with all of them.

    With a `rate`, in calls a second, they begin on time whatever became of those before (an open loop); without one,
    `concurrency` callers begin anew as soon as they are answered (a closed loop).
    """

    target: str
    method: str
    requests: Path
    seconds: float
    connections: int
    concurrency: int
    rate: float = 0.0
    timeout: float = 20.0

    @property
    def name(self) -> str:
        """A short description."""
        loop = f"open loop, {self.rate:.3g}/s" if self.rate else f"closed loop, {self.concurrency} callers"
        return f"{self.method}, {loop}"


@dataclass
class Outcome:
    """Latencies of the calls that were answered, in us, and how often which error came instead."""

    name: str
    latencies: HdrHistogram = field(default_factory=lambda: HdrHistogram(1, _HOUR_US, _DIGITS))
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def answered(self, seconds: float) -> None:
        """Note a call that was answered after so long."""
        self.latencies.record_value(max(1, round(seconds * 1e6)))

    @property
    def rate(self) -> float:
        """Answered calls a second."""
        return float(self.latencies.get_total_count()) / self.seconds if self.seconds else 0.0

    @property
    def error_text(self) -> str:
        """Each reason and how often."""
        return ", ".join(f"{reason} {count}" for reason, count in self.errors.most_common()) or "none"

    def milliseconds(self, percentile: float) -> float | str:
        """Latency at a percentile, or `-` where too few calls are slower; 100 is the maximum, if there is any."""
        calls = self.latencies.get_total_count()
        if not calls or (percentile < 100 and calls * (1 - percentile / 100) < _BEYOND):
            return "-"
        return float(self.latencies.get_value_at_percentile(percentile)) / 1e3


def table(outcomes: Sequence[Outcome], by: str) -> Table:
    """Outcomes as one table, with their percentiles as HDR plots have them."""
    percentiles = [("max" if each == 100 else f"p{each:g}") + " ms" for each in _PERCENTILES]
    rows: list[tuple[str | float, ...]] = [
        (
            each.name,
            float(each.latencies.get_total_count()),
            each.rate,
            *(each.milliseconds(percentile) for percentile in _PERCENTILES),
            each.error_text,
        )
        for each in outcomes
    ]

    def draw(axes: Axes) -> None:
        for each in outcomes:
            axes.plot(*_tail(each.latencies), label=each.name)
        axes.set_xscale("log")
        axes.set_xticks([1, 10, 100, 1000, 10_000], ["0", "90 %", "99 %", "99.9 %", "99.99 %"])
        axes.set_xlabel("percentile")
        axes.set_ylabel("latency, ms")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)

    return Table("load", f"Load, by {by}", ("load", "calls", "calls/s", *percentiles, "errors"), rows, draw)


def _tail(latencies: HdrHistogram) -> tuple[list[float], list[float]]:
    """Latencies in ms over 1 / (1 - percentile), which spreads out the slowest of them."""
    points = [  # the iterator yields one object again and again, so it is read at once
        (point.percentile_level_iterated_to, point.value_iterated_to)
        for point in latencies.get_percentile_iterator(_TICKS)
    ]
    below = [(level, value) for level, value in points if level < 100]
    return [100 / (100 - level) for level, _ in below], [value / 1e3 for _, value in below]
