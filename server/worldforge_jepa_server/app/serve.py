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

from worldforge_jepa_client.contract.spec import MemoryUse
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_server.app import reflection
from worldforge_jepa_server.app.malloc import trim_malloc, tune_malloc
from worldforge_jepa_server.config import ModelSource, ServerConfig
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models.contract import ModelLoadError, ServedModel
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.rpc import shared_memory
from worldforge_jepa_server.rpc.servicer import SERVICE_NAME, WorldModelServicer, generic_handler
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.scheduling.engine import Engine, FunctionJob

_log = logging.getLogger(__name__)

_SWEEPS_PER_TTL = 4


class BindError(Exception):
    """The address to listen on cannot be had."""


async def serve(config: ServerConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain; prints `serving on <address>` once models are loaded.

    Health says NOT_SERVING, and calls to what is not loaded get UNAVAILABLE, until then and while draining. A lazy
    server prints at once.

    Raises:
        BindError: the address is taken or malformed.
        ModelLoadError: a model cannot be loaded, and the server is not lazy.
    """
    stopping = _on_signals()
    _log.info("malloc: %s", tune_malloc())
    engine = Engine(config.queue_size)
    runtime, healthy = Runtime(engine, config), health.aio.HealthServicer()
    servicer = WorldModelServicer(runtime, shared_memory.parser(config))
    server = _build(config, servicer, healthy)
    address = _bind(server, config.listen)
    await _announce(healthy, HealthCheckResponse.NOT_SERVING)
    await server.start()
    loading = asyncio.create_task(_load_all(config, engine, runtime, healthy))
    try:
        if not config.lazy:
            await loading
        print(f"serving on {address}", flush=True)
        await _until(stopping, runtime, config.context_ttl / _SWEEPS_PER_TTL)
        _log.info("draining: accepted calls may take %g s to finish", config.drain_seconds)
        await healthy.enter_graceful_shutdown()
        servicer.drain()
        await server.stop(config.drain_seconds)
    finally:
        loading.cancel()
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


async def _load_all(config: ServerConfig, engine: Engine, runtime: Runtime, healthy: health.aio.HealthServicer) -> None:
    """Put one model after the other into service; healthy is a server that has one when all have been tried."""
    for source in config.model:
        try:
            (model, memory), _ = await engine.run(FunctionJob(partial(_load, source, config)))
            runtime.models.put(model, memory)
        except ModelLoadError as error:
            if not config.lazy:
                raise
            _log.error("cannot load %s: %s", source.name, error)
            runtime.models.refuse(source.name, error)
    with contextlib.suppress(JepaError):
        runtime.specs()
        await _announce(healthy, HealthCheckResponse.SERVING)


def _load(source: ModelSource, config: ServerConfig, _: Event) -> tuple[ServedModel, MemoryUse | None]:
    use_threads(config.threads)
    model = load_model(source, config.device, config.error_detail)
    _log.info("model %s: %d parameters on %s", source.name, model.spec.parameter_count, model.spec.device)
    trim_malloc()
    return model, warm_up(model)


async def _announce(healthy: health.aio.HealthServicer, status: HealthCheckResponse.ServingStatus) -> None:
    for service in ("", SERVICE_NAME):
        await healthy.set(service, status)
