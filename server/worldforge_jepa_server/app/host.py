"""The service in one process: engine, runtime, servicer and health, and what runs beside the calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from threading import Event

import grpc
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from worldforge_jepa_client.contract.spec import MemoryUse
from worldforge_jepa_server.app import reflection
from worldforge_jepa_server.app.cores import usable_cores
from worldforge_jepa_server.app.system import trim_malloc, tune_malloc
from worldforge_jepa_server.app.watchdog import watch
from worldforge_jepa_server.config import ModelSource, ServerConfig
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models.contract import ModelLoadError, ServedModel
from worldforge_jepa_server.models.devices import chosen
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.rpc import shared_memory
from worldforge_jepa_server.rpc.intake import Intake
from worldforge_jepa_server.rpc.observability.calls import Calls
from worldforge_jepa_server.rpc.observability.observers import observing
from worldforge_jepa_server.rpc.open_inference import messages as open_inference
from worldforge_jepa_server.rpc.open_inference.servicer import OpenInferenceServicer
from worldforge_jepa_server.rpc.security.guard import guarded
from worldforge_jepa_server.rpc.servicer import SERVICE_NAME, WorldModelServicer, generic_handler
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.runtime.replicas import Replicas
from worldforge_jepa_server.scheduling.engine import Engine, FunctionJob

_log = logging.getLogger(__name__)

_SWEEPS_PER_TTL = 4
_REST_SECONDS = 5.0


class Host:
    """Serves a config's models, whatever gRPC server carries the calls; lives on one event loop.

    Attributes:
        replicas: the runtimes, one on each device.
        servicer: the RPCs.
        health: the standard health service; NOT_SERVING until a model is loaded, and while draining.
    """

    def __init__(self, config: ServerConfig) -> None:
        _log.info("malloc: %s", tune_malloc())
        self._config = config
        self._configs = _by_device(config)
        self.replicas = Replicas([Runtime(Engine(each.queue_size), each) for each in self._configs])
        self._intake = Intake(config.message_budget, shared_memory.parser(config))
        self.servicer = WorldModelServicer(self.replicas, self._intake, config.plan_seconds)
        self.health = health.aio.HealthServicer()
        self._calls = Calls()

    def observed(self) -> contextlib.AbstractContextManager[None]:
        """Watch the calls inside the body; raises as `observing` does."""
        return observing(self._calls, self._config, self.replicas)

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """Return the handlers of every service but health, for any grpc.aio server on this loop.

        Raises:
            StartError: the token file cannot be used.
        """
        calls, services, pools = self._calls, [SERVICE_NAME, health.SERVICE_NAME], []
        handlers = [generic_handler(self.servicer, calls=calls)]
        if self._config.open_inference:
            inference = OpenInferenceServicer(self.replicas, self._intake, lambda: self.ready)
            handlers.append(generic_handler(inference, open_inference.SERVICE, calls))
            services.append(open_inference.SERVICE.full_name)
            pools.append(open_inference.POOL)
        if self._config.reflection:
            handlers += reflection.handlers(services, *pools)
        return guarded(handlers, self._config, calls)

    @property
    def engines(self) -> list[Engine]:
        """The engine of each device."""
        return [runtime.engine for runtime in self.replicas]

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""
        return self._calls.tally.ready

    async def set_ready(self, ready: bool) -> None:
        """Say whether the server takes calls."""
        self._calls.tally.ready = ready
        for service in ("", SERVICE_NAME):
            await self.health.set(service, HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING)

    async def load(self) -> None:
        """Load the models one after the other, each onto all devices; the host is ready if at least one is loaded.

        Raises:
            ModelLoadError: one cannot be loaded, and the server is not lazy.
        """
        for source in self._config.model:
            try:
                for runtime, config in zip(self.replicas, self._configs, strict=True):
                    (model, memory), _ = await runtime.engine.run(FunctionJob(partial(_load, source, config)))
                    runtime.models.put(model, memory)
            except ModelLoadError as error:
                if not self._config.lazy:
                    raise
                _log.error("cannot load %s: %s", source.name, error)
                for runtime in self.replicas:
                    runtime.models.refuse(source.name, error)
        if any(runtime.models.in_service() for runtime in self.replicas):
            await self.set_ready(True)

    @contextlib.asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """Free what is no longer needed and watch for a model that hangs, beside the body; cancelled at its end."""
        watching = watch(self.engines, self._config.hang_seconds, self.set_ready)
        tasks = [asyncio.create_task(each) for each in (self._expire(), self._trim(), watching)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def refuse(self) -> None:
        """Take no more calls: health says so, and idle streams end; accepted calls may finish."""
        await self.set_ready(False)
        await self.health.enter_graceful_shutdown()
        self._intake.drain()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(self._config.context_ttl / _SWEEPS_PER_TTL)
            self.replicas.expire()

    async def _trim(self) -> None:
        """Return freed memory to the system once the server rests; until then what is kept makes calls faster."""
        before = trimmed = 0
        while True:
            await asyncio.sleep(_REST_SECONDS)
            events = self._calls.tally.events
            if events == before != trimmed and not self.replicas.pending:
                await asyncio.to_thread(trim_malloc)
                trimmed = events
            before = events


def _by_device(config: ServerConfig) -> list[ServerConfig]:
    """Return a config for each device, by torch's name; the log has what `auto` was. CPUs share the threads."""
    devices = [chosen(device) for device in config.devices]
    if ",".join(devices) != config.device:
        _log.info("device: %s is %s here", config.device, ",".join(devices))
    sharers = devices.count("cpu")
    shared = max(1, usable_cores() // sharers) if sharers > 1 else 0
    return [
        replace(config, device=device, threads=config.threads or (shared if device == "cpu" else 0))
        for device in devices
    ]


def _load(source: ModelSource, config: ServerConfig, _: Event) -> tuple[ServedModel, MemoryUse | None]:
    use_threads(config.threads)
    model = load_model(source, config.device, config.error_detail)
    _log.info("model %s: %d parameters on %s", source.name, model.spec.parameter_count, model.spec.device)
    trim_malloc()
    return model, warm_up(model)
