"""What the server can do, on arrays: each operation checks, waits for the device, and answers. Knows no protobuf."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version

from worldforge_jepa_client.calls import (
    Context,
    LatentFrames,
    Observation,
    PlanCall,
    PlanProgress,
    Scene,
    ScoreCall,
    ScoreResult,
    Timing,
    UnrollCall,
)
from worldforge_jepa_client.checks import (
    check_candidates,
    check_normalizable,
    check_observation,
    check_options,
    check_scene,
    check_selection,
    planner_for,
)
from worldforge_jepa_client.errors import FailedPreconditionError, NotFoundError, UnavailableError
from worldforge_jepa_client.sampling import HostArrays
from worldforge_jepa_client.spec import ModelSpec
from worldforge_jepa_server import jobs
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.contexts import Cache
from worldforge_jepa_server.encoding import EncodedScene, Encoder
from worldforge_jepa_server.engine import Engine
from worldforge_jepa_server.models.contract import Latents, SelfScoringModel, ServedModel, WorldModel
from worldforge_jepa_server.planning import DeviceArrays
from worldforge_jepa_server.scenes import Encode, Scenes, StoredScene

_log = logging.getLogger(__name__)

_TORCH = version("torch")


class Runtime:
    """Runs the models it is given on one engine; until then every operation is UNAVAILABLE."""

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self._engine = engine
        self._config = config
        self._models: Mapping[str, ServedModel] = {}
        self._latents: Cache[Latents] = Cache(config.cache_bytes, config.context_ttl)
        self._contexts: Cache[StoredScene] = Cache(config.cache_bytes, config.context_ttl)
        self._encoder = Encoder(self._latents)
        self._scenes = Scenes(self._encoder, self._contexts)

    def serve(self, models: Mapping[str, ServedModel]) -> None:
        """Answer for these models from now on; the first one is the default."""
        self._models = models

    def specs(self) -> list[ModelSpec]:
        """The contracts of all models, the default one first."""
        self._model("")
        return [self.spec(name) for name in self._models]

    def spec(self, name: str) -> ModelSpec:
        """A model's contract, with this server's message limit."""
        spec = self._model(name).spec
        return replace(spec, limits=replace(spec.limits, max_message_bytes=self._config.max_message_bytes))

    async def score(self, call: ScoreCall, arrived: float) -> ScoreResult:
        """Score candidates; `arrived` is when the request did, in `time.perf_counter` seconds."""
        model = self._model_for(call.scene, call.model)
        with self._scenes.opened(call.scene, model) as encode:
            return await self.score_in(encode, replace(call, model=model.spec.name), arrived)

    async def score_in(self, encode: Encode, call: ScoreCall, arrived: float) -> ScoreResult:
        """Score candidates in a scene that is held already; `call.scene` is not looked at."""
        model = self._model(call.model)
        check_options(call.options, model.spec)
        check_candidates(call.action_candidates, model.spec)
        _log.debug("score on %s: %d candidates, horizon %d", model.spec.name, *call.action_candidates.shape[1:3])
        decoded = time.perf_counter()
        job = partial(jobs.score_candidates, model, encode, call, self._config.chunk_size)
        step, queued = await self._engine.run(job)
        metadata = {
            **step.scored.metadata,
            "model": model.spec.name,
            "actions_are_normalized": call.options.actions_are_normalized,
            "device": model.spec.device,
            "model_class": type(model).__name__,
            "torch": _TORCH,
        }
        timing = _timing(step, arrived, decoded, queued)
        return ScoreResult(step.scores, step.best_index, step.scored.lower_is_better, metadata, timing)

    def hold(self, scene: Scene, model: str) -> Encode:
        """Return what encodes a whole scene once, when first called on the device thread."""
        check_scene(scene, self._model(model).spec)
        return _Once(partial(self._encoder.encode_scene, self._model(model), scene))

    async def encode_now(self, encode: Encode) -> None:
        """Encode a held scene."""
        await self._engine.run(lambda _: encode())

    async def create_context(self, scene: Scene, model_name: str) -> Context:
        """Encode a scene and keep it."""
        model = self._model(model_name)
        with self._scenes.opened(scene, model) as encode:
            encoded, _ = await self._engine.run(lambda _: encode())
        return self._scenes.keep(model, encoded)

    def delete_context(self, context_id: str) -> None:
        """Forget a context."""
        self._scenes.forget(context_id)

    def expire(self) -> None:
        """Free what has not been used for too long."""
        for cache in (self._latents, self._contexts):
            cache.expire()

    @property
    def remembered_bytes(self) -> int:
        """The size of all latents that contexts and the encoder's cache hold."""
        return self._latents.bytes + self._contexts.bytes

    async def encode(self, observation: Observation, model_name: str) -> LatentFrames:
        """Encode an observation."""
        model = _with_latents(self._model(model_name))
        check_observation(observation, model.spec, "observation", needs_proprio=False)
        latents, _ = await self._engine.run(partial(jobs.encode_frames, model, self._encoder, observation))
        return latents

    async def unroll(self, call: UnrollCall) -> AsyncGenerator[tuple[int, LatentFrames], None]:
        """Yield (step, latents); each step waits its turn, so others score in between."""
        model = _with_latents(self._model_for(call.scene, call.model))
        check_candidates(call.action_candidates, model.spec)
        check_normalizable(call.actions_are_normalized, model.spec)
        check_selection(call)
        horizon = call.action_candidates.shape[2]
        with self._scenes.opened(call.scene, model, needs_goal=False) as encode:
            steps = jobs.predictions(model, encode, call, self._config.max_message_bytes)
            for step in range(1, max(call.steps, default=horizon) + 1):
                latents, _ = await self._engine.run(partial(jobs.next_step, steps))
                if latents is not None:
                    yield step, latents

    async def plan(self, call: PlanCall, arrived: float) -> AsyncGenerator[PlanProgress, None]:
        """Yield the plan after each iteration; each waits its turn, so others score in between."""
        model = self._model_for(call.scene, call.model)
        check_options(call.options, model.spec)
        arrays = partial(DeviceArrays, model.spec.device) if call.on_device else HostArrays
        planner, _ = await self._engine.run(lambda _: planner_for(call, model.spec, arrays))
        iterations = call.planner.iterations
        decoded = time.perf_counter()
        with self._scenes.opened(call.scene, model) as encode:
            once = _Once(encode)
            for iteration in range(1, iterations + 1):
                job = partial(jobs.improve_plan, model, once, planner, call, self._config.chunk_size)
                step, queued = await self._engine.run(job)
                yield PlanProgress(
                    iteration=iteration,
                    iterations=iterations,
                    mean=step.mean,
                    best_actions=step.best_actions,
                    best_score=step.best_score,
                    mean_score=float(step.scores.mean()),
                    spread=step.spread,
                    timing=_timing(step, arrived, decoded, queued),
                )
                arrived = decoded = time.perf_counter()

    def _model_for(self, scene: Scene | str, name: str) -> ServedModel:
        return self._model(self._scenes.model_of(scene, name))

    def _model(self, name: str) -> ServedModel:
        if not self._models:
            raise UnavailableError("the server is loading its models", reason="MODEL_LOADING", retry_after=1.0)
        try:
            return self._models[name or next(iter(self._models))]
        except KeyError:
            served = ", ".join(self._models)
            raise NotFoundError(
                f"{name!r} is not served; served: {served}", reason="MODEL_NOT_FOUND", field="model"
            ) from None


def _with_latents(model: ServedModel) -> WorldModel:
    if isinstance(model, SelfScoringModel):
        raise FailedPreconditionError(
            f"{model.spec.name} scores by itself, and has no latents to give", reason="NO_LATENTS", field="model"
        )
    return model


class _Once:
    """Encodes at the first call, and remembers."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._scene: EncodedScene | None = None

    def __call__(self) -> EncodedScene:
        if self._scene is None:
            self._scene = self._encode()
        return self._scene


def _timing(step: jobs.Step, arrived: float, decoded: float, queued: float) -> Timing:
    seconds = (
        queued,
        decoded - arrived,
        step.encode_seconds,
        step.scored.unroll_seconds,
        step.scored.distance_seconds,
        time.perf_counter() - arrived,
    )
    return Timing(*(round(part * 1e6) for part in seconds))
