"""The table: how long a score takes, by how its threads work together and by what runs beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from benchmarks.harness import median
from benchmarks.report import Cell, Table, Target, grouped_bars
from benchmarks.threads.processes import LIBGOMP_DEFAULT, NEIGHBOURS, score, started, worker
from benchmarks.threads.worker import HORIZON, LARGE, SMALL
from worldforge_jepa_server.app.cores import openmp_environment

LIBGOMP, OURS, PREFERRED = "torch's threads, by default", "a native model's halves", "halves, and nice -10"
_SHARED = ("--shared",)


class Way(NamedTuple):
    """The variables of OpenMP, the flags of the worker, and the priority of the process."""

    variables: Mapping[str, str]
    flags: Sequence[str] = ()
    nice: int = 0


WAYS = {
    LIBGOMP: Way(LIBGOMP_DEFAULT, _SHARED),
    "torch's threads, which spin less": Way(openmp_environment(), _SHARED),
    "torch's threads, which never spin": Way({"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}, _SHARED),
    "one thread": Way({"OMP_NUM_THREADS": "1"}, _SHARED),
    OURS: Way(openmp_environment()),
    PREFERRED: Way(openmp_environment(), nice=-10),
}
ROUNDS, SCORES = 3, 5
_LEAST_QUIET, _MOST_BESIDE = 1.05, 2.5


def measure(effort: float) -> Table:
    """Time the ways in turns, beside each neighbour."""
    taken = timed(WAYS, max(1, round(ROUNDS * effort)))
    medians = {key: 1e3 * median(seconds) for key, seconds in taken.items()}
    rows: list[Sequence[Cell]] = [
        (way, *(medians[way, samples, neighbour] for samples in (LARGE, SMALL) for neighbour in NEIGHBOURS))
        for way in WAYS
    ]
    columns = ["ms", *(f"{samples}, {neighbour}" for samples in (LARGE, SMALL) for neighbour in NEIGHBOURS)]

    def draw(axes: Axes) -> None:
        series: dict[str, Sequence[float]] = {
            way: [medians[way, LARGE, neighbour] for neighbour in NEIGHBOURS] for way in WAYS
        }
        grouped_bars(axes, list(NEIGHBOURS), series)
        axes.set_xlabel(f"median of {LARGE} candidates, ms")

    title = f"A score of {LARGE} and of {SMALL} candidates, horizon {HORIZON}, by how threads work together, beside"
    return Table("threads", title, columns, rows, draw, _targets(medians))


def timed(ways: Mapping[str, Way], rounds: int) -> dict[tuple[str, int, str], list[float]]:
    """Return the seconds of the scores, by way, number of candidates and neighbour."""
    taken: dict[tuple[str, int, str], list[float]] = {}
    with contextlib.ExitStack() as stack:
        workers = {way: stack.enter_context(worker(*how)) for way, how in ways.items()}
        for neighbour, commands in NEIGHBOURS.items():
            with started(*commands, variables=LIBGOMP_DEFAULT):
                for _ in range(rounds):
                    for way, process in workers.items():
                        for samples, times in ((LARGE, SCORES), (SMALL, 2 * SCORES)):
                            taken.setdefault((way, samples, neighbour), []).extend(score(process, samples, times))
    return taken


def _targets(medians: Mapping[tuple[str, int, str], float]) -> list[Target]:
    quiet = medians[OURS, LARGE, "nothing"] / medians[LIBGOMP, LARGE, "nothing"]
    targets = [Target(f"a quiet score of {LARGE}, in times of torch's threads", quiet, _LEAST_QUIET)]
    for way, told in ((OURS, ""), (PREFERRED, ", at nice -10")):
        for samples in (LARGE, SMALL):
            for neighbour in list(NEIGHBOURS)[1:]:
                ratio = medians[way, samples, neighbour] / medians[way, samples, "nothing"]
                claim = f"a score of {samples} beside {neighbour}, in times of quiet{told}"
                targets.append(Target(claim, ratio, _MOST_BESIDE))
    return targets
