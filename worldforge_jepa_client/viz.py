"""Plans in Rerun, as they are made: frames, scores of each iteration, and the time of each call. Extra `viz`.

    with PlanView(save="plan.rrd") as view:
        view.scene(now, goal)
        for _ in range(8):
            candidates = planner.ask()
            result = session.score(candidates)
            planner.tell(result.costs)
            view.iteration(candidates, result)

A view never stops a planner: where the viewer is missing or goes away, it warns once and shows no more.
Letters: S samples (candidates), H horizon, A packed action dim.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from worldforge_jepa_client.contract.types import PlanProgress, ScoreResult, Timing

if TYPE_CHECKING:
    from typing_extensions import Self

_LOGGER = logging.getLogger(__name__)
_TIMELINE = "iteration"
_BINS = 32
_FLUSH_SECONDS = 2.0
_F = TypeVar("_F", bound=Callable[..., None])


def _guarded(method: _F) -> _F:
    """Turn a failure of Rerun into one warning, after which the view is off."""

    @wraps(method)
    def guarded(self: PlanView, *args: Any, **keywords: Any) -> None:
        if not self.on:
            return
        try:
            method(self, *args, **keywords)
        except Exception as error:  # a view never stops a planner, whatever the viewer raises
            self.on = False
            _LOGGER.warning("the plan is not shown any more: %s: %s", type(error).__name__, error)

    return guarded  # type: ignore[return-value]


class PlanView:
    """Logs plans to Rerun: to a viewer, to a file, or both.

    Iterations are counted from 0 over all plans, on the timeline "iteration".

    `on` says whether it still does. Without an argument it is off from the start, and costs nothing.

    Args:
        spawn: start a viewer on this machine.
        save: file to write, .rrd.
        connect: URL of a running viewer, "rerun+http://127.0.0.1:9876/proxy".
    """

    def __init__(self, *, spawn: bool = False, save: Path | str | None = None, connect: str | None = None) -> None:
        self.on = bool(spawn or save or connect)
        self._iteration = 0
        self._open(spawn, save, connect)

    @_guarded
    def _open(self, spawn: bool, save: Path | str | None, connect: str | None) -> None:
        import rerun

        self._rerun = rerun
        self._recording = rerun.RecordingStream("worldforge-jepa")
        sinks: list[Any] = [rerun.FileSink(save)] if save else []
        if spawn:
            rerun.spawn(connect=False)
            sinks.append(rerun.GrpcSink())
        if connect:
            sinks.append(rerun.GrpcSink(connect))
        self._recording.set_sinks(*sinks)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @_guarded
    def scene(self, now: npt.ArrayLike, goal: npt.ArrayLike) -> None:
        """Show a scene's frames, uint8 (3, height, width), at `scene/now` and `scene/goal`."""
        self._at_iteration()
        for name, frame in (("now", now), ("goal", goal)):
            self._recording.log(f"scene/{name}", self._rerun.Image(np.moveaxis(np.asarray(frame), 0, -1)))

    @_guarded
    def iteration(self, candidates: npt.ArrayLike, result: ScoreResult, *, elites: int = 10) -> None:
        """Show one iteration of a planner in this process.

        Args:
            candidates: (1, S, H, A); `planner/spread` is the mean of their standard deviation over S.
            result: their scores, shown as costs; infinite ones, never to be chosen, are left out.
            elites: how many of the best have their median shown.
        """
        costs = result.costs[np.isfinite(result.costs)]
        if costs.size:
            best = np.sort(costs)[:elites]
            self._scalars("cost", best=best[0], elite=np.median(best), median=np.median(costs))
            self._histogram(costs)
        self._scalars("planner", spread=np.asarray(candidates).std(axis=1).mean())
        self._finish(result.timing)

    @_guarded
    def progress(self, progress: PlanProgress) -> None:
        """Show one iteration of `client.plan`: the best score so far, the mean score and the planner's spread."""
        self._scalars("score", best=progress.best_score, mean=progress.mean_score)
        self._scalars("planner", spread=progress.spread)
        self._finish(progress.timing)

    @_guarded
    def close(self) -> None:
        """Write what is left, within two seconds, and end the recording."""
        self._recording.flush(timeout_sec=_FLUSH_SECONDS)
        self._recording.disconnect()
        self.on = False

    def _at_iteration(self) -> None:
        self._recording.set_time(_TIMELINE, sequence=self._iteration)

    def _scalars(self, path: str, **values: Any) -> None:
        self._at_iteration()
        for name, value in values.items():
            self._recording.log(f"{path}/{name}", self._rerun.Scalars(float(value)))

    def _histogram(self, costs: npt.NDArray[np.float32]) -> None:
        counts, edges = np.histogram(costs, bins=_BINS)
        self._recording.log("histogram", self._rerun.BarChart(counts, abscissa=(edges[:-1] + edges[1:]) / 2))

    def _finish(self, timing: Timing) -> None:
        self._scalars("milliseconds", **{name.removesuffix("_us"): us / 1e3 for name, us in vars(timing).items()})
        self._iteration += 1
