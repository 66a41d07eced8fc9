"""Sessions, plans and latents of a `LocalClient`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.types import (
    LatentFrames,
    PlanProgress,
    PlanResult,
    Scene,
    ScoreCall,
    ScoreOptions,
    ScoreResult,
)
from worldforge_jepa_client.contract.validate import check_goal_proprio, check_options
from worldforge_jepa_client.errors import CallCancelledError, DeadlineExceededError, InternalError
from worldforge_jepa_client.inputs.arrays import as_candidates, as_observation
from worldforge_jepa_client.inputs.build import build_extra_info, build_options, build_scene
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.runtime.scenes import HeldScene

if TYPE_CHECKING:
    from typing_extensions import Self


class LocalSession:
    """See `Session`: scores candidates in one scene, which is encoded once."""

    def __init__(
        self,
        runtime: Runtime,
        run: Callable[..., ScoreResult],
        scene: Scene,
        options: ScoreOptions,
        extra_info: Mapping[str, Any],
        model: str,
        timeout: float | None,
    ) -> None:
        self._runtime, self._run, self._timeout = runtime, run, timeout
        self._options, self._extra_info, self._model = options, extra_info, model
        self._scene = copy.deepcopy(scene)
        self._held: HeldScene | None = None

    def score(
        self,
        action_candidates: object,
        *,
        extra_info: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> ScoreResult:
        """See `Session.score`."""
        call = ScoreCall(
            scene=self._scene,
            action_candidates=as_candidates(action_candidates),
            model=self._model,
            options=build_options(**options, default=self._options),
            extra_info=self._extra_info if extra_info is None else build_extra_info(extra_info),
        )
        held = self._held or self._change(Scene())
        check_options(call.options, held[0].spec)
        check_goal_proprio(self._scene.goal, call.options, held[0].spec)
        seconds = self._timeout if timeout is None else timeout
        return self._run(partial(self._runtime.score, call, held=held), seconds)

    def observe(self, observation: object, action_history: object = None) -> None:
        """See `Session.observe`."""
        self._change(build_scene(observation, None, action_history))

    def set_goal(self, goal: object) -> None:
        """See `Session.set_goal`."""
        self._change(Scene(goal=as_observation(goal, "context.goal")))

    def close(self) -> None:
        """See `Session.close`; there is no stream to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _change(self, changes: Scene) -> HeldScene:
        """Check the scene with these changes, and score in it from now on."""
        scene = self._scene.updated(copy.deepcopy(changes))
        self._held, self._scene = self._runtime.hold(scene, self._model), scene
        return self._held


class LocalPlan(Iterator[PlanProgress]):
    """See `PlanStream`: an iterator over `PlanProgress`, one per iteration, with the plan as its `result()`."""

    def __init__(self, steps: Generator[PlanProgress, None, None]) -> None:
        self._steps = steps
        self._cancelled = False
        self.latest: PlanProgress | None = None

    def __next__(self) -> PlanProgress:
        if self._cancelled:
            if self.latest is None:
                raise CallCancelledError("the plan was cancelled")
            self._steps.close()
            raise StopIteration
        try:
            self.latest = next(self._steps)
        except DeadlineExceededError:
            if self.latest is None:
                raise
            raise StopIteration from None
        return self.latest

    def result(self) -> PlanResult:
        """See `PlanStream.result`."""
        for _ in self:
            pass
        last = self.latest
        if last is None:
            raise InternalError("the plan ended before its first iteration")
        complete = last.iteration == last.iterations
        return PlanResult(last.mean, last.best_actions, last.best_score, last.iteration, complete, last.timing)

    def cancel(self) -> None:
        """Stop planning after the iteration that runs; `result` returns the best plan so far."""
        self._cancelled = True


def widened(latents: LatentFrames) -> LatentFrames:
    """Return latents with bfloat16, which come as their bits, as the float32 of the same value."""

    def widen(array: NDArray[Any]) -> NDArray[Any]:
        return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array

    return LatentFrames(widen(latents.visual), None if latents.proprio is None else widen(latents.proprio))
