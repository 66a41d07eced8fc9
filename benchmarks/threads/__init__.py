"""(i) How torch's OpenMP threads wait for each other, and what a score takes when they share their cores."""

from benchmarks.threads.table import measure as measure
