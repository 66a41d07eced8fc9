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
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from worldforge_jepa_client.contract.types import LatentFrames, PlanProgress, ScoreResult, Timing

if TYPE_CHECKING:
    from typing_extensions import Self

_LOGGER = logging.getLogger(__name__)
_TIMELINE = "iteration"
_BINS = 32
_GOOD, _BAD, _BEST = np.array([80, 160, 255]), np.array([70, 70, 80]), (255, 140, 0)
"""Colours, RGB: candidates from the lowest cost to the highest, and the best one."""
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
        self._recording.send_blueprint(_layout())

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
    def iteration(
        self,
        candidates: npt.ArrayLike,
        result: ScoreResult,
        *,
        elites: int = 10,
        paths: npt.NDArray[Any] | None = None,
    ) -> None:
        """Show one iteration of a planner in this process.

        Args:
            candidates: (1, S, H, A); `planner/spread` is the mean of their standard deviation over S.
            result: their scores, shown as costs; infinite ones, never to be chosen, are left out.
            elites: how many of the best have their median shown.
            paths: (S, points, 2), px: drawn into `scene/now`, coloured by rank, the best on top; see
                `ActionMapping.paths`.
        """
        costs = result.costs[np.isfinite(result.costs)]
        if costs.size:
            best = np.sort(costs)[:elites]
            self._scalars("cost", best=best[0], elite=np.median(best), median=np.median(costs))
            self._histogram(costs)
        self._scalars("planner", spread=np.asarray(candidates).std(axis=1).mean())
        if paths is not None:
            self._paths(paths, result.costs)
        self._finish(result.timing)

    @_guarded
    def progress(self, progress: PlanProgress) -> None:
        """Show one iteration of `client.plan`: the best score so far, the mean score and the planner's spread."""
        self._scalars("score", best=progress.best_score, mean=progress.mean_score)
        self._scalars("planner", spread=progress.spread)
        self._finish(progress.timing)

    @_guarded
    def unrolled(
        self, now: LatentFrames, steps: Iterable[tuple[int, LatentFrames]], goal: LatentFrames, *, sample: int = 0
    ) -> None:
        """Show where one candidate leads in latent space: its distance to the goal by step, and its way in a plane.

        The distance is the mean square over all tokens and dims, from step 0, which is now. The plane is that of the
        two principal components of the latents on the way and of the goal's.

        Args:
            now: of `client.encode`, (1, T, N, D); its last frame counts.
            steps: of `client.unroll`, (S, 1, N, D) each.
            goal: as `now`.
            sample: which of the candidates that were unrolled.
        """
        way = [now.visual[0, -1], *(frames.visual[sample, -1] for _, frames in steps), goal.visual[0, -1]]
        latents = np.stack([latent.ravel() for latent in way]).astype(np.float32)
        distances = ((latents[:-1] - latents[-1]) ** 2).mean(axis=1)
        plane = projection(latents)
        self._at_iteration()
        self._recording.log("unroll/distance", self._rerun.BarChart(distances))
        self._recording.log("latents/way", self._rerun.LineStrips2D([plane[:-1]], colors=_BEST))
        self._recording.log("latents/goal", self._rerun.Points2D(plane[-1:], radii=0.02, labels=["goal"]))

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
        self._recording.log(
            "histogram", self._rerun.BarChart(counts, abscissa=(edges[:-1] + edges[1:]) / 2, widths=np.diff(edges))
        )

    def _paths(self, paths: npt.NDArray[Any], costs: npt.NDArray[np.float32]) -> None:
        """Draw the paths worst first, so that the best lie on top."""
        order = np.argsort(costs, kind="stable")[::-1]
        rank = np.linspace(0, 1, len(order))[:, None]
        colours = (_BAD + rank * (_GOOD - _BAD)).astype(np.uint8)
        lines = self._rerun.LineStrips2D
        self._recording.log("scene/now/candidates", lines(paths[order], colors=colours, draw_order=1.0))
        self._recording.log("scene/now/best", lines(paths[order[-1:]], colors=_BEST, radii=0.4, draw_order=2.0))

    def _finish(self, timing: Timing) -> None:
        self._scalars("milliseconds", **{name.removesuffix("_us"): us / 1e3 for name, us in vars(timing).items()})
        self._iteration += 1


def _layout() -> Any:
    """Return the viewer's layout: the scene to the left, scores and times to the right."""
    import rerun.blueprint as rrb

    scene = rrb.Vertical(
        rrb.Spatial2DView(origin="scene/now", name="candidates in the scene"),
        rrb.Tabs(
            rrb.Spatial2DView(origin="scene/goal", name="goal"),
            rrb.BarChartView(origin="unroll", name="distance to the goal by step"),
            rrb.Spatial2DView(origin="latents", name="the way in latent space"),
        ),
        row_shares=[3, 1],
    )
    curves = rrb.Vertical(
        rrb.TimeSeriesView(origin="/", contents=["cost/**", "score/**"], name="cost, lower is better"),
        rrb.BarChartView(origin="histogram", name="costs of the iteration"),
        rrb.TimeSeriesView(origin="milliseconds", name="milliseconds on the server"),
    )
    return rrb.Blueprint(rrb.Horizontal(scene, curves, column_shares=[1, 1]), collapse_panels=True)


def projection(latents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return rows (n, D) on the plane of their two principal components, (n, 2), the largest deviation 1."""
    centred = latents - latents.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    plane: npt.NDArray[np.float32] = (left * scale)[:, :2]
    plane = np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))
    return plane / (np.abs(plane).max() or 1.0)
