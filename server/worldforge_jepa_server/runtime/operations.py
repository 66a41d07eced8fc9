"""What the server can do, on arrays: each operation checks, waits for the device, and answers. Knows no protobuf."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from functools import partial

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import (
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
from worldforge_jepa_client.contract.validate import (
    check_candidates,
    check_extra_info,
    check_normalizable,
    check_observation,
    check_options,
    check_selection,
    planner_for,
)
from worldforge_jepa_client.planning import Planner
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.device.clock import TORCH_VERSION
from worldforge_jepa_server.device.encoding import EncodedScene, Encoder
from worldforge_jepa_server.device.planner_arrays import DeviceArrays
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.runtime import jobs
from worldforge_jepa_server.runtime.model_table import Deployment, Deployments
from worldforge_jepa_server.runtime.scenes import OpenScene, Scenes, StoredScene
from worldforge_jepa_server.runtime.score_job import Step
from worldforge_jepa_server.scheduling.engine import Call, Caller, Engine

_log = logging.getLogger(__name__)


class Runtime:
    """Runs models on one engine.

    Attributes:
        models: the models; an operation on one that is not in service raises what `Deployments.find` does.
    """

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self._engine = engine
        self._config = config
        self.models = Deployments(config)
        self._latents: Cache[Latents] = Cache(config.cache_bytes, config.context_ttl)
        self._contexts: Cache[StoredScene] = Cache(config.cache_bytes, config.context_ttl)
        self._encoder = Encoder(self._latents)
        self._scenes = Scenes(self._encoder, self._contexts)

    def specs(self) -> list[ModelSpec]:
        """The contracts of all models in service, the default one first."""
        return self.models.specs()

    def spec(self, name: str) -> ModelSpec:
        """A model's contract."""
        return self.models.find(name).spec

    async def score(self, call: ScoreCall, caller: Caller) -> ScoreResult:
        """Score candidates."""
        deployed = self._model_for(call.scene, call.model)
        with self._scenes.opened(call.scene, deployed.model) as scene:
            _check(call, deployed.spec)
            with self._engine.accepted(_cost(call)):
                return await self._score(deployed, scene, call, caller)

    async def score_in(self, scene: OpenScene, call: ScoreCall, caller: Caller) -> ScoreResult:
        """Score candidates in a scene that is held; `call.scene` is not looked at.

        Never refused for a full queue: who holds a scene waits for one call before he makes the next.
        """
        deployed = self.models.find(call.model)
        _check(call, deployed.spec)
        return await self._score(deployed, scene, call, caller)

    async def _score(self, deployed: Deployment, scene: OpenScene, call: ScoreCall, caller: Caller) -> ScoreResult:
        spec = deployed.spec
        _log.debug("score on %s: %d candidates, horizon %d", spec.name, *call.action_candidates.shape[1:3])
        decoded = time.perf_counter()
        step, waited = await self._engine.run(jobs.score_candidates(deployed, scene, call), spec.name, caller)
        metadata = {
            **step.scored.metadata,
            "model": spec.name,
            "actions_are_normalized": call.options.actions_are_normalized,
            "device": spec.device,
            "model_class": type(deployed.model).__name__,
            "torch": TORCH_VERSION,
        }
        timing = _timing(step, caller.arrived, decoded, waited)
        return ScoreResult(step.scores, step.best_index, step.scored.lower_is_better, metadata, timing)

    def hold(self, scene: Scene, model: str) -> OpenScene:
        """Open a whole scene for as long as it is held."""
        return self._scenes.whole(scene, self.models.find(model).model)

    async def encode_now(self, scene: OpenScene, model: str, caller: Caller) -> None:
        """Encode a held scene."""
        await self._engine.run(_encoding(scene), self.models.find(model).spec.name, caller)

    async def create_context(self, scene: Scene, model_name: str, caller: Caller) -> Context:
        """Encode a scene and keep it."""
        deployed = self.models.find(model_name)
        with self._scenes.opened(scene, deployed.model) as opened, self._engine.accepted(opened.frames):
            encoded, _ = await self._engine.run(_encoding(opened), deployed.spec.name, caller)
        return self._scenes.keep(deployed.model, encoded)

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

    async def encode(self, observation: Observation, model_name: str, caller: Caller) -> LatentFrames:
        """Encode an observation."""
        deployed = self.models.find(model_name)
        model = deployed.world
        check_observation(observation, deployed.spec, "observation", needs_proprio=False)
        frames = observation.visual.shape[1]
        job = Call(partial(jobs.encode_frames, model, self._encoder, observation), frames)
        with self._engine.accepted(frames):
            latents, _ = await self._engine.run(job, deployed.spec.name, caller)
        return latents

    async def unroll(self, call: UnrollCall, caller: Caller) -> AsyncGenerator[tuple[int, LatentFrames], None]:
        """Yield (step, latents); each step waits its turn, so others score in between."""
        deployed = self._model_for(call.scene, call.model)
        model = deployed.world
        check_candidates(call.action_candidates, deployed.spec)
        check_normalizable(call.actions_are_normalized, deployed.spec)
        check_selection(call)
        _, samples, horizon, _ = call.action_candidates.shape
        samples = len(call.samples) or samples
        with (
            self._scenes.opened(call.scene, model, needs_goal=False) as scene,
            self._engine.accepted(samples * horizon),
        ):
            steps = jobs.predictions(deployed, scene, call, self._config.max_message_bytes)
            for step in range(1, max(call.steps, default=horizon) + 1):
                job = Call(partial(jobs.next_step, steps), samples)
                latents, _ = await self._engine.run(job, deployed.spec.name, caller)
                if latents is not None:
                    yield step, latents

    async def plan(self, call: PlanCall, caller: Caller) -> AsyncGenerator[PlanProgress, None]:
        """Yield the plan after each iteration; each waits its turn, so others score in between."""
        deployed = self._model_for(call.scene, call.model)
        check_options(call.options, deployed.spec)
        call = call.resolved(deployed.spec)
        planner = await self._planner(call, deployed, caller)
        with (
            self._scenes.opened(call.scene, deployed.model) as scene,
            self._engine.accepted(planner.samples * planner.horizon),
        ):
            arrived, decoded = caller.arrived, time.perf_counter()
            iterations = call.planner.iterations or 0
            for iteration in range(1, iterations + 1):
                job = jobs.improve_plan(deployed, scene, planner, call)
                step, waited = await self._engine.run(job, deployed.spec.name, caller)
                yield PlanProgress(
                    iteration=iteration,
                    iterations=iterations,
                    mean=step.mean,
                    best_actions=step.best_actions,
                    best_score=step.best_score,
                    mean_score=float(step.scores.mean()),
                    spread=step.spread,
                    timing=_timing(step, arrived, decoded, waited),
                )
                arrived = decoded = time.perf_counter()

    async def _planner(self, call: PlanCall, deployed: Deployment, caller: Caller) -> Planner:
        """The planner that a call describes; one that works on the device is made there."""
        spec = deployed.spec
        if not call.on_device:
            return planner_for(call, spec)
        make = Call(lambda _: planner_for(call, spec, partial(DeviceArrays, spec.device)))
        planner, _ = await self._engine.run(make, spec.name, caller)
        return planner

    def _model_for(self, scene: Scene | str, name: str) -> Deployment:
        return self.models.find(self._scenes.model_of(scene, name))


def _encoding(scene: OpenScene) -> Call[EncodedScene]:
    return Call(lambda _: scene.encoded(), scene.frames)


def _check(call: ScoreCall, spec: ModelSpec) -> None:
    check_options(call.options, spec)
    check_candidates(call.action_candidates, spec)
    check_extra_info(call.extra_info)


def _cost(call: ScoreCall) -> int:
    """Candidates times horizon."""
    samples, horizon = call.action_candidates.shape[1:3]
    return int(samples * horizon)


def _timing(step: Step, arrived: float, decoded: float, waited: float) -> Timing:
    seconds = (
        waited,
        decoded - arrived,
        step.encode_seconds,
        step.scored.unroll_seconds,
        step.scored.distance_seconds,
        time.perf_counter() - arrived,
    )
    return Timing(*(round(part * 1e6) for part in seconds))
