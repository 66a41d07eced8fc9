"""Operations of the server, on arrays: each checks its call, awaits the device, and returns. Knows no protobuf."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial

from worldforge_jepa_client.contract.extra_info import check_extra_info
from worldforge_jepa_client.contract.selection import check_selection
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
    check_goal_proprio,
    check_normalizable,
    check_observation,
    check_options,
    check_plan_units,
    planner_for,
)
from worldforge_jepa_client.planning import Planner
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.device.batching import ScoreJob
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.device.clock import stage_seconds
from worldforge_jepa_server.device.encoding import EncodedScene, Encoder, SceneHandle
from worldforge_jepa_server.device.memory import memory_in_use
from worldforge_jepa_server.device.planner_arrays import DeviceArrays
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.runtime import jobs, record
from worldforge_jepa_server.runtime.model_table import Deployment, Deployments
from worldforge_jepa_server.runtime.scenes import HeldScene, Scenes, StoredScene
from worldforge_jepa_server.runtime.unrolls import Unrolls
from worldforge_jepa_server.scheduling.engine import Caller, Engine, FunctionJob

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Statistics:
    """Figures of a runtime: candidates x horizon in the queue, and its limit; encodings; what is kept; the models."""

    queue: int
    queue_limit: int
    encode_hits: int
    encode_misses: int
    cache_bytes: int
    contexts: int
    specs: list[ModelSpec]


class Runtime:
    """Runs the calls of all clients on one engine.

    Attributes:
        engine: owns the device.
        models: the models; a call of one that is not in service raises as `Deployments.find` does.
    """

    def __init__(self, engine: Engine, config: ServerConfig) -> None:
        self.engine, self._device = engine, config.device
        self.models = Deployments(config)
        self._unrolls = Unrolls(engine, config)
        self._latents: Cache[Latents] = Cache(config.cache_bytes, config.context_ttl)
        self._contexts: Cache[StoredScene] = Cache(config.cache_bytes, config.context_ttl)
        self._encoder = Encoder(self._latents)
        self._scenes = Scenes(self.models, self._encoder, self._contexts)

    def specs(self) -> list[ModelSpec]:
        """Return the specs of all models in service, the default one first."""
        return self.models.specs()

    def spec(self, name: str) -> ModelSpec:
        """Return a model's spec."""
        return self.models.find(name).spec

    async def score(self, call: ScoreCall, caller: Caller, held: HeldScene | None = None) -> ScoreResult:
        """Score candidates; in the scene that is `held`, whatever scene and model the call names.

        A call in a held scene is not refused for a full queue: its caller makes one call at a time.
        """
        with contextlib.ExitStack() as stack:
            deployed, scene = held or stack.enter_context(self._scenes.resolve(call.scene, call.model))
            spec, candidates, options = deployed.spec, call.action_candidates, call.options
            check_options(options, spec)
            check_candidates(candidates, spec, normalized=options.actions_are_normalized)
            check_extra_info(call.extra_info, spec)
            check_goal_proprio(scene.goal, options, spec)
            _, samples, horizon, _ = candidates.shape
            if held is None:
                stack.enter_context(self.engine.admit(samples * horizon))
            _log.debug("score on %s: %d candidates, horizon %d", spec.name, samples, horizon)
            decoded = time.perf_counter()
            job = ScoreJob(deployed.runner, scene, options, candidates.shape[1:], candidates[0], call.extra_info)
            _, waited = await self.engine.run(job, spec.name, caller)
        best = int(job.scores.argmin()) if job.best_index is None else job.best_index
        metadata = {
            **job.metadata,
            **deployed.metadata,
            "actions_are_normalized": options.actions_are_normalized,
        }
        timing = _timing(caller.arrived, decoded, waited, *stage_seconds(job.clocks))
        record.current().scored(spec.name, samples, horizon, timing)
        return ScoreResult(job.scores, best, job.lower_is_better, metadata, timing)

    def hold(self, scene: Scene, model: str) -> HeldScene:
        """Check a scene that was sent whole; return it and its model, for `score` and `encode_now`."""
        return self._scenes.hold(scene, model)

    async def encode_now(self, held: HeldScene, caller: Caller) -> None:
        """Encode a held scene."""
        deployed, scene = held
        await self.engine.run(_encoding(scene), deployed.spec.name, caller)

    async def create_context(self, scene: Scene, model_name: str, caller: Caller) -> Context:
        """Encode a scene and keep it."""
        deployed, handle = self._scenes.hold(scene, model_name)
        with self.engine.admit(handle.frames):
            encoded, _ = await self.engine.run(_encoding(handle), deployed.spec.name, caller)
        return self._scenes.keep(deployed.spec.name, encoded)

    def keeps(self, context_id: str) -> bool:
        """Return whether there is such a context."""
        return self._contexts.get(context_id) is not None

    def delete_context(self, context_id: str) -> None:
        """Drop a context."""
        self._scenes.forget(context_id)

    def expire(self) -> None:
        """Free cached latents and contexts that have not been used for too long."""
        for cache in (self._latents, self._contexts):
            cache.expire()

    def statistics(self) -> Statistics:
        """Return the present figures; from any thread."""
        return Statistics(
            queue=self.engine.admitted,
            queue_limit=self.engine.capacity,
            encode_hits=self._encoder.hits,
            encode_misses=self._encoder.misses,
            cache_bytes=self.remembered_bytes,
            contexts=len(self._contexts),
            specs=[deployed.spec for deployed in self.models.in_service()],
        )

    def device_memory(self) -> dict[str, int]:
        """Return the bytes by kind: weights and cached latents, and on CUDA what torch has allocated and reserved."""
        specs = [deployed.spec for deployed in self.models.in_service()]
        weights = sum(spec.memory.weights_bytes for spec in specs if spec.memory)
        return {"weights": weights, "cache": self.remembered_bytes, **memory_in_use(self._device)}

    @property
    def remembered_bytes(self) -> int:
        """The size of all latents that contexts and the encoder's cache hold."""
        return self._latents.bytes + self._contexts.bytes

    async def encode(self, observation: Observation, model_name: str, dtype: str, caller: Caller) -> LatentFrames:
        """Encode an observation; bfloat16 latents come as their bits, uint16."""
        deployed = self.models.find(model_name)
        model = deployed.latent_model()
        check_observation(observation, deployed.spec, "observation", needs_proprio=False)
        frames = observation.visual.shape[1]
        job = FunctionJob(partial(jobs.encode_frames, model, self._encoder, observation, dtype), frames)
        with self.engine.admit(frames):
            latents, _ = await self.engine.run(job, deployed.spec.name, caller)
        return latents

    async def unroll(self, call: UnrollCall, caller: Caller) -> AsyncGenerator[tuple[int, LatentFrames], None]:
        """Yield (step, latents) as in `encode`; see `Unrolls`."""
        with self._scenes.resolve(call.scene, call.model, needs_goal=False) as (deployed, scene):
            deployed.latent_model()
            check_normalizable(call.actions_are_normalized, deployed.spec)
            check_candidates(call.action_candidates, deployed.spec, normalized=call.actions_are_normalized)
            check_selection(call)
            async with contextlib.aclosing(self._unrolls.run(deployed, scene, call, caller)) as steps:
                async for step in steps:
                    yield step

    async def plan(self, call: PlanCall, caller: Caller) -> AsyncGenerator[PlanProgress, None]:
        """Yield the plan after each iteration; each waits its turn, so others score in between."""
        with self._scenes.resolve(call.scene, call.model) as (deployed, scene):
            check_options(call.options, deployed.spec)
            check_goal_proprio(scene.goal, call.options, deployed.spec)
            check_plan_units(call.options, has_history=scene.has_history)
            call = call.resolved(deployed.spec)
            planner = await self._planner(call, deployed, caller)
            cost, iterations = planner.samples * planner.horizon, call.planner.iterations or 0
            arrived, decoded = caller.arrived, time.perf_counter()
            for iteration in range(1, iterations + 1):
                job = jobs.PlanJob(deployed, scene, planner, call)
                step: jobs.PlanStep
                # Left before the yield, which lasts as long as the client does not read.
                with self.engine.admit(cost, begun=iteration > 1):
                    step, waited = await self.engine.run(job, deployed.spec.name, caller)
                timing = _timing(arrived, decoded, waited, *stage_seconds(job.clocks))
                record.current().scored(deployed.spec.name, planner.samples, planner.horizon, timing)
                yield PlanProgress(
                    iteration=iteration,
                    iterations=iterations,
                    mean=step.mean,
                    best_actions=step.best_actions,
                    best_score=step.best_score,
                    mean_score=step.mean_score,
                    spread=step.spread,
                    timing=timing,
                )
                arrived = decoded = time.perf_counter()

    async def _planner(self, call: PlanCall, deployed: Deployment, caller: Caller) -> Planner:
        """Return the planner that a call describes; one that works on the device is made there."""
        spec = deployed.spec
        if not call.on_device:
            return planner_for(call, spec)
        make = FunctionJob(lambda _: planner_for(call, spec, partial(DeviceArrays, spec.device)))
        planner, _ = await self.engine.run(make, spec.name, caller)
        return planner


def _encoding(scene: SceneHandle) -> FunctionJob[EncodedScene]:
    return FunctionJob(lambda _: scene.encoded(), scene.frames)


def _timing(arrived: float, decoded: float, waited: float, *on_device: float) -> Timing:
    """Return the timing of a call that ends now, from `time.perf_counter` seconds."""
    seconds = (waited, decoded - arrived, *on_device, time.perf_counter() - arrived)
    return Timing(*[round(part * 1e6) for part in seconds])
