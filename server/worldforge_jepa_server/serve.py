"""One server process: bind, load, warm up, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from functools import partial
from threading import Event

import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from worldforge_jepa_client.spec import MemoryUse
from worldforge_jepa_server import reflection
from worldforge_jepa_server.allocator import tune_malloc
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.device import use_threads
from worldforge_jepa_server.engine import Call, Engine
from worldforge_jepa_server.models.contract import ServedModel
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.runtime import Runtime
from worldforge_jepa_server.servicer import SERVICE_NAME, WorldModelServicer, generic_handler
from worldforge_jepa_server.warmup import warm_up

_log = logging.getLogger(__name__)

_SWEEPS_PER_TTL = 4


class BindError(Exception):
    """The address to listen on cannot be had."""


async def serve(config: ServerConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain; prints `serving on <address>` once models are loaded.

    Health says NOT_SERVING, and calls get UNAVAILABLE, until then and while draining.

    Raises:
        BindError: the address is taken or malformed.
        ModelLoadError: a model cannot be loaded.
    """
    stopping = _on_signals()
    _log.info("malloc: %s", tune_malloc())
    engine = Engine(config.queue_size)
    runtime, healthy = Runtime(engine, config), health.aio.HealthServicer()
    servicer = WorldModelServicer(runtime)
    server = _build(config, servicer, healthy)
    address = _bind(server, config.listen)
    await _announce(healthy, HealthCheckResponse.NOT_SERVING)
    await server.start()
    try:
        (models, memory), _ = await engine.run(Call(partial(_load, config)))
        runtime.serve(models, memory)
        await _announce(healthy, HealthCheckResponse.SERVING)
        print(f"serving on {address}", flush=True)
        await _until(stopping, runtime, config.context_ttl / _SWEEPS_PER_TTL)
        _log.info("draining: accepted calls may take %g s to finish", config.drain_seconds)
        await healthy.enter_graceful_shutdown()
        servicer.drain()
        await server.stop(config.drain_seconds)
    finally:
        await server.stop(None)
        engine.close()


async def _until(stopping: asyncio.Event, runtime: Runtime, sweep_seconds: float) -> None:
    """Wait to be stopped, and meanwhile free what has expired."""
    while not stopping.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), sweep_seconds)
        runtime.expire()


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    return stopping


def _build(config: ServerConfig, servicer: WorldModelServicer, healthy: health.aio.HealthServicer) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", config.max_message_bytes),
            # With port reuse, which is gRPC's default, two servers would share an address without a word.
            ("grpc.so_reuseport", 0),
        )
    )
    server.add_generic_rpc_handlers((generic_handler(servicer),))
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if config.reflection:
        reflection.enable(server, (SERVICE_NAME, health.SERVICE_NAME))
    return server


def _bind(server: grpc.aio.Server, listen: str) -> str:
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise BindError(f"cannot listen on {listen}: it is in use or not an address of this machine") from error
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


def _load(config: ServerConfig, _: Event) -> tuple[dict[str, ServedModel], dict[str, MemoryUse | None]]:
    use_threads(config.threads)
    models, memory = {}, {}
    for source in config.model:
        model = load_model(source, config.device)
        models[source.name], memory[source.name] = model, warm_up(model)
        _log.info("model %s: %d parameters on %s", source.name, model.spec.parameter_count, model.spec.device)
    return models, memory


async def _announce(healthy: health.aio.HealthServicer, status: HealthCheckResponse.ServingStatus) -> None:
    for service in ("", SERVICE_NAME):
        await healthy.set(service, status)
