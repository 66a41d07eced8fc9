"""The environment in which torch's OpenMP threads start: how many they are, and how long they spin."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_SPINS = "2000"
"""Turns a thread of libgomp waits before it sleeps.

Its default, 300,000, is milliseconds: a thread that has to share its core then holds up all others.
"""


def openmp_environment(root: Path = _ROOT) -> dict[str, str]:
    """The variables that libgomp reads when torch is loaded."""
    return {"GOMP_SPINCOUNT": _SPINS, "OMP_NUM_THREADS": str(usable_cores(root))}


def set_openmp_environment() -> None:
    """Set these variables for this process, before torch is imported, and for those it starts; the user's own win."""
    for name, value in openmp_environment().items():
        os.environ.setdefault(name, value)


def usable_cores(root: Path = _ROOT) -> int:
    """The cores that this process may use: its affinity, and the CPU quota of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.floor(min([cores, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """The quotas of cgroup v2 (`cpu.max`) and v1, in cores; a container sees its own at the root."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((root / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota not in ("max", "-1") and int(period) > 0:
            yield int(quota) / int(period)
