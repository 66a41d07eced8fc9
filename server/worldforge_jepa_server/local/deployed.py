"""The runtime of a `LocalClient`."""

from __future__ import annotations

from dataclasses import replace

from worldforge_jepa_client.contract.spec import MemoryUse
from worldforge_jepa_server.config import ModelSource, ServerConfig
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models.contract import ServedModel
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.scheduling.engine import CancelToken, Engine, FunctionJob


async def deployed(engine: Engine, source: ServedModel | ModelSource, config: ServerConfig) -> Runtime:
    """Return a runtime that serves one model: a source loaded and warmed up, or a model as it is.

    Raises:
        ModelLoadError: the source cannot be loaded.
    """

    def load(_: CancelToken) -> tuple[ServedModel, MemoryUse | None]:
        if not isinstance(source, ModelSource):
            return source, source.spec.memory
        use_threads(config.threads)
        model = load_model(source, config.device)
        return model, warm_up(model)

    (model, memory), _ = await engine.run(FunctionJob(load))
    name = model.spec.name
    runtime = Runtime(engine, replace(config, model=(ModelSource(name, name),), device=model.spec.device))
    runtime.models.put(model, memory)
    return runtime
