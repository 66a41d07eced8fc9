"""(i) How the threads of a score work together, and how long it takes when they share their cores."""

from __future__ import annotations

from benchmarks.report import Table


def measure(effort: float) -> Table:
    """See `table.measure`."""
    from benchmarks.threads.table import measure as timed  # which imports the worker, a module that also runs by itself

    return timed(effort)
