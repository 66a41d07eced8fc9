"""A server in the test's own process, on a real socket, around a model that counts what it is asked to do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import grpc
import pytest

pytest.importorskip("torch", reason="the client's tests also run where it is not installed")

from tests.security import everywhere
from worldforge_jepa_server.config import ModelSource, ServerConfig
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.rpc.connections import connection_options
from worldforge_jepa_server.rpc.intake import Intake
from worldforge_jepa_server.rpc.observability.calls import Calls
from worldforge_jepa_server.rpc.observability.observers import observing
from worldforge_jepa_server.rpc.security import tls
from worldforge_jepa_server.rpc.security.guard import guarded
from worldforge_jepa_server.rpc.servicer import WorldModelServicer, generic_handler
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.runtime.replicas import Replicas
from worldforge_jepa_server.scheduling.engine import Engine

DEADLINE = 60


class CountingModel:
    """The embedded model, counting frames encoded and steps unrolled; `before_step` runs before each step."""

    def __init__(self, name="tiny"):
        self._model = tiny.load("cpu", name)
        self.encoded = self.steps = 0
        self.before_step = lambda: None

    @property
    def spec(self):
        return self._model.spec

    def encode(self, observation):
        self.encoded += 1
        return self._model.encode(observation)

    def unroll(self, latents, actions, action_history):
        for predicted in self._model.unroll(latents, actions, action_history):
            self.before_step()
            self.steps += 1
            yield predicted

    def normalize_actions(self, actions):
        return self._model.normalize_actions(actions)


class StandingStill(CountingModel):
    """Predicts at no cost that nothing changes."""

    def unroll(self, latents, actions, action_history):
        last = latents.last()
        visual, proprio = (each.expand(actions.shape[1], *each.shape[1:]) for each in (last.visual, last.proprio))
        for _ in actions:
            self.steps += 1
            yield replace(last, visual=visual, proprio=proprio)


class Stop:
    """Stops the model before its next step, or once it did `after` of them, until it may go on."""

    def __init__(self, model, after=0):
        self._model, self._after = model, after
        self._reached, self._go = threading.Event(), threading.Event()
        model.before_step = self._step

    def _step(self):
        if self._model.steps >= self._after:
            self._reached.set()
            assert self._go.wait(DEADLINE)

    async def reached(self):
        assert await asyncio.to_thread(self._reached.wait, DEADLINE)

    def go_on(self):
        self._go.set()


@dataclass(frozen=True)
class Running:
    """A server in the test's process."""

    target: str
    models: dict[str, CountingModel]
    engine: Engine
    runtime: Runtime
    servicer: WorldModelServicer

    @property
    def model(self) -> CountingModel:
        return self.models["tiny"]


@contextlib.asynccontextmanager
async def running(names=("tiny",), models=None, **settings) -> AsyncIterator[Running]:
    """Serve these models by name, or counting ones, on a free port."""
    models = models or {name: CountingModel(name) for name in names}
    config = ServerConfig(model=tuple(ModelSource(name, name) for name in models), **(everywhere.SETTINGS | settings))
    engine = Engine(config.queue_size)
    runtime = Runtime(engine, config)
    intake = Intake(config.message_budget)
    replicas = Replicas([runtime])
    servicer = WorldModelServicer(replicas, intake, config.plan_seconds)
    server = grpc.aio.server(options=connection_options(config))
    calls = Calls()
    server.add_generic_rpc_handlers(guarded([generic_handler(servicer, calls=calls)], config, calls))
    credentials, address = tls.server_credentials(config), "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    for model in models.values():
        runtime.models.put(model, model.spec.memory)
    observed = observing(calls, config, replicas) if everywhere.SETTINGS else contextlib.nullcontext()
    try:
        with observed:
            yield Running(f"127.0.0.1:{port}", models, engine, runtime, servicer)
    finally:
        await server.stop(None)
        engine.close()


async def waiting(server, jobs):
    """Return once so many jobs of this server are waited for."""

    async def until_pending():
        while server.engine.pending != jobs:  # noqa: ASYNC110 - the engine has no event to wait for
            await asyncio.sleep(0.01)

    await asyncio.wait_for(until_pending(), DEADLINE)
