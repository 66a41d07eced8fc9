"""A server in the test's own process, on a real socket, around a model that counts what it is asked to do."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import grpc

from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.engine import Engine
from worldforge_jepa_server.models import tiny
from worldforge_jepa_server.runtime import Runtime
from worldforge_jepa_server.servicer import WorldModelServicer, generic_handler


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


@dataclass(frozen=True)
class Running:
    """What a test needs of its server."""

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
    config = replace(ServerConfig(), **settings)
    engine = Engine(config.queue_size)
    runtime = Runtime(engine, config)
    servicer = WorldModelServicer(runtime)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((generic_handler(servicer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    models = models or {name: CountingModel(name) for name in names}
    runtime.serve(models)
    try:
        yield Running(f"127.0.0.1:{port}", models, engine, runtime, servicer)
    finally:
        await server.stop(None)
        engine.close()
