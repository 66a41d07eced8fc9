"""`LocalClient`: the methods of `Client` on a runtime in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import Context, LatentFrames, Scene, ScoreResult
from worldforge_jepa_client.contract.validate import (
    check_observation,
    check_plan_call,
    check_scene,
    check_score_call,
    check_unroll_call,
)
from worldforge_jepa_client.errors import DeadlineExceededError
from worldforge_jepa_client.inputs.arrays import as_observation
from worldforge_jepa_client.inputs.build import (
    build_extra_info,
    build_named_scene,
    build_options,
    build_plan_call,
    build_planner_options,
    build_scene,
    build_score_call,
    build_unroll_call,
    context_id,
)
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.wire.latents import latent_dtype_code
from worldforge_jepa_server.config import ModelSource, ServerConfig
from worldforge_jepa_server.local.deployed import deployed
from worldforge_jepa_server.local.results import LocalPlan, LocalSession, widened
from worldforge_jepa_server.models.contract import ServedModel
from worldforge_jepa_server.scheduling.engine import Caller, Engine

if TYPE_CHECKING:
    from typing_extensions import Self

_R = TypeVar("_R")
_PLANNER = [item.name for item in fields(PlannerOptions)]
_OPTIONS = ("objective", "proprio_weight", "actions_are_normalized")


class LocalClient:
    """Scores candidates and plans on a model in this process: `Client`'s methods, keywords, results and errors.

    Calls pass the server's own runtime and engine, on threads of their own; no message is made and no port is opened.
    An exception of the model's own code is raised as it is. Thread-safe; a context manager.

    Args:
        model: a model, or a source as in `--model`, e.g. "tiny" or "m=native:jepa_wm_pusht,checkpoint=...".
        config: as for a server; its `model` and addresses do not matter.
        timeout: seconds a call may take, unless the call says otherwise; None is no limit.

    Raises:
        ModelLoadError: the source cannot be loaded.
    """

    def __init__(
        self,
        model: ServedModel | ModelSource | str = "tiny",
        *,
        config: ServerConfig | None = None,
        timeout: float | None = None,
    ) -> None:
        config = config or ServerConfig()
        source = ModelSource.parse(model) if isinstance(model, str) else model
        self.timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local client", daemon=True)
        self._thread.start()
        self._engine = Engine(config.queue_size)
        try:
            self._runtime = self._await(deployed(self._engine, source, config), None)
        except BaseException:
            self.close()
            raise

    def score(
        self,
        *,
        action_candidates: object,
        observation: object = None,
        goal: object = None,
        action_history: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> ScoreResult:
        """See `Client.score`."""
        scene = build_named_scene(context, observation, goal, action_history)
        call = build_score_call(scene, action_candidates, **options)
        self._check(scene, call.model, partial(check_score_call, call))
        return self._run(partial(self._runtime.score, call), timeout)

    def session(
        self,
        *,
        observation: object,
        goal: object,
        action_history: object = None,
        extra_info: Mapping[str, Any] | None = None,
        model: str = "",
        timeout: float | None = None,
        **options: Any,
    ) -> LocalSession:
        """See `Client.session`."""
        scene = build_scene(observation, goal, action_history)
        seconds = self.timeout if timeout is None else timeout
        extra = build_extra_info(extra_info)
        return LocalSession(self._runtime, self._run, scene, build_options(**options), extra, model, seconds)

    def plan(
        self,
        *,
        observation: object = None,
        goal: object = None,
        action_history: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> LocalPlan:
        """See `Client.plan`."""
        scene = build_named_scene(context, observation, goal, action_history)
        planner = build_planner_options(**{name: options.pop(name) for name in _PLANNER if name in options})
        score = build_options(**{name: options.pop(name) for name in _OPTIONS if name in options})
        call = build_plan_call(scene, planner, score, **options)
        self._check(scene, call.model, partial(check_plan_call, call))
        return LocalPlan(self._steps(self._runtime.plan(call, self._caller(timeout)), timeout))

    def create_context(
        self,
        *,
        observation: object,
        goal: object,
        action_history: object = None,
        model: str = "",
        timeout: float | None = None,
    ) -> Context:
        """See `Client.create_context`."""
        scene = build_scene(observation, goal, action_history)
        self._check(scene, model, partial(check_scene, scene))
        return self._run(partial(self._runtime.create_context, scene, model), timeout)

    def delete_context(self, context: Context | str) -> None:
        """See `Client.delete_context`."""
        self._runtime.delete_context(context_id(context))

    def encode(
        self, *, observation: object, model: str = "", dtype: str = "float32", timeout: float | None = None
    ) -> LatentFrames:
        """See `Client.encode`."""
        frames = as_observation(observation, "observation")
        check_observation(frames, self.model(model), "observation", needs_proprio=False)
        latent_dtype_code(dtype)
        return widened(self._run(partial(self._runtime.encode, frames, model, dtype), timeout))

    def unroll(
        self,
        *,
        action_candidates: object,
        observation: object = None,
        action_history: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Iterator[tuple[int, LatentFrames]]:
        """See `Client.unroll`."""
        scene = build_named_scene(context, observation, None, action_history)
        call = build_unroll_call(scene, action_candidates, **options)
        self._check(scene, call.model, partial(check_unroll_call, call))
        latent_dtype_code(call.dtype)
        steps = self._steps(self._runtime.unroll(call, self._caller(timeout)), timeout)
        return ((step, widened(latents)) for step, latents in steps)

    def model(self, name: str = "") -> ModelSpec:
        """See `Client.model`."""
        return self._runtime.spec(name)

    def close(self) -> None:
        """Let the running batch end, and stop the threads."""
        self._engine.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self, scene: Scene | str, model: str, check: Callable[[ModelSpec], None]) -> None:
        """Check a call as `Client` does, which leaves a context's model to the server."""
        if model or isinstance(scene, Scene):
            check(self.model(model))

    def _caller(self, timeout: float | None) -> Caller:
        now, seconds = time.perf_counter(), self.timeout if timeout is None else timeout
        return Caller(self, now, float("inf") if seconds is None else now + seconds)

    def _run(self, call: Callable[[Caller], Coroutine[Any, Any, _R]], timeout: float | None) -> _R:
        """Run a call of the runtime until its deadline."""
        return self._await(call(self._caller(timeout)), self.timeout if timeout is None else timeout)

    def _await(self, coroutine: Coroutine[Any, Any, _R], seconds: float | None) -> _R:
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, seconds), self._loop)
        try:
            return future.result()
        except asyncio.TimeoutError:
            raise DeadlineExceededError("no answer within the request's time") from None
        except BaseException:  # KeyboardInterrupt too
            future.cancel()
            raise

    def _steps(self, steps: AsyncGenerator[_R, None], timeout: float | None) -> Generator[_R, None, None]:
        """Yield what an operation yields, until its deadline; closing this ends the operation."""
        seconds = self.timeout if timeout is None else timeout
        deadline = float("inf") if seconds is None else time.perf_counter() + seconds

        async def following() -> tuple[_R, ...]:
            try:
                return (await anext(steps),)
            except StopAsyncIteration:
                return ()

        try:
            while found := self._await(following(), _left(deadline)):
                yield found[0]
        finally:
            self._await(steps.aclose(), None)


def _left(deadline: float) -> float | None:
    return None if deadline == float("inf") else max(0.0, deadline - time.perf_counter())
