"""One server process: bind, load, warm up, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from threading import Event
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from worldforge_jepa_client.contract.spec import MemoryUse
from worldforge_jepa_server.app import reflection
from worldforge_jepa_server.app.listen import bound
from worldforge_jepa_server.app.malloc import trim_malloc, tune_malloc
from worldforge_jepa_server.app.process import Signals, exit_now
from worldforge_jepa_server.app.watchdog import watch
from worldforge_jepa_server.config import ModelSource, ServerConfig
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models.contract import ModelLoadError, ServedModel
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.rpc import shared_memory
from worldforge_jepa_server.rpc.observability.calls import Calls
from worldforge_jepa_server.rpc.observability.observers import observing
from worldforge_jepa_server.rpc.observability.tally import Tally
from worldforge_jepa_server.rpc.open_inference import messages as open_inference
from worldforge_jepa_server.rpc.open_inference.servicer import OpenInferenceServicer
from worldforge_jepa_server.rpc.security import tls
from worldforge_jepa_server.rpc.security.guard import guarded
from worldforge_jepa_server.rpc.servicer import SERVICE_NAME, WorldModelServicer, generic_handler
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.scheduling.engine import Engine, FunctionJob

_log = logging.getLogger(__name__)

_SWEEPS_PER_TTL = 4
_CHECK_SECONDS, _IDLE_CHECKS = 0.1, 10
_CLOSE_SECONDS = 0.2

# A connection that a network forgot is closed within seconds, and a client may ask as often.
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.max_concurrent_streams", 256),  # of one connection
    ("grpc.max_metadata_size", 16384),  # of one call, in bytes
    ("grpc.absolute_max_metadata_size", 16384),
)


class ServerEndedError(Exception):
    """gRPC's server stopped accepting calls without being told to."""


async def serve(config: ServerConfig, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; announces `serving on <address>` once models are loaded.

    Health says NOT_SERVING, and calls to what is not loaded get UNAVAILABLE, until then and while draining. A lazy
    server announces at once. A signal before that ends the process at once.

    Raises:
        StartError: an address is taken, or a file or a package is missing or cannot be used.
        ModelLoadError: a model cannot be loaded, and the server is not lazy.
        ServerEndedError: gRPC stopped accepting calls.
    """
    _log.info("malloc: %s", tune_malloc())
    engine = Engine(config.queue_size)
    runtime, healthy = Runtime(engine, config), health.aio.HealthServicer()
    servicer = WorldModelServicer(runtime, shared_memory.parser(config))
    calls = Calls()
    server, credentials = _build(config, runtime, servicer, healthy, calls), tls.server_credentials(config)
    ready = partial(_ready, healthy, calls.tally)
    try:
        with (
            observing(calls, config, runtime, engine),
            Signals(config.drain_seconds) as signals,
            bound(server, config.listen, credentials) as address,
        ):
            await ready(False)
            await server.start()
            ended = asyncio.create_task(server.wait_for_termination())  # never cancelled: `stop` would be too
            async with _background(
                _expire(runtime, config.context_ttl / _SWEEPS_PER_TTL),
                watch(engine, config.hang_seconds, ready),
            ):
                loading = asyncio.create_task(_load_all(config, engine, runtime, ready))
                if not config.lazy:
                    await _first(signals.stopping, ended, loading)
                if signals.stopping.is_set():  # nothing was accepted yet
                    return
                announce(f"serving on {address}")
                await _first(signals.stopping, ended)
                loading.cancel()
                await ready(False)
                await healthy.enter_graceful_shutdown()
                servicer.drain()
                await _drain(server, engine, signals, config.drain_seconds)
    finally:
        await server.stop(None)
        _close(engine)


def _close(engine: Engine) -> None:
    """Let the device thread end; where a model holds it, exit: with 1 where a call or the start fails by that."""
    error = sys.exc_info()[1]
    if not engine.close(_CLOSE_SECONDS):
        name, _ = engine.running or (None, 0.0)  # no name: a model was loading, and no call is lost
        exit_now(int(bool(name or error)), str(error or f"{name or 'loading'} has not returned"))


async def _first(stopping: asyncio.Event, ended: asyncio.Task[Any], loading: asyncio.Task[None] | None = None) -> None:
    """Wait for a signal, or for the models where they are loading.

    Raises:
        ModelLoadError: one cannot be loaded.
        ServerEndedError: the server ended by itself.
    """
    stopped = asyncio.ensure_future(stopping.wait())
    waited: list[asyncio.Future[Any]] = [stopped, ended, *([loading] if loading else [])]
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if ended.done() and not stopping.is_set():
        error = None if ended.cancelled() else ended.exception()
        raise ServerEndedError(f"gRPC stopped accepting calls: {error or 'it gives no cause'}")
    if loading and loading.done():
        loading.result()


async def _drain(server: grpc.aio.Server, engine: Engine, signals: Signals, seconds: float) -> None:
    """Let accepted calls finish; streams that only watch, or are not read, are ended once the device is idle."""
    _log.info("draining: accepted calls may take %g s to finish", seconds)
    stopped = asyncio.ensure_future(server.stop(seconds))
    idle = 0
    while idle < _IDLE_CHECKS and not signals.hurried.is_set():
        done, _ = await asyncio.wait([stopped], timeout=_CHECK_SECONDS)
        if done:
            return
        idle = 0 if engine.pending else idle + 1
    await server.stop(None)
    await stopped


async def _expire(runtime: Runtime, seconds: float) -> None:
    """Free expired contexts and latents, periodically."""
    while True:
        await asyncio.sleep(seconds)
        runtime.expire()


@contextlib.asynccontextmanager
async def _background(*coroutines: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run coroutines beside the body, and cancel them at its end."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _build(
    config: ServerConfig,
    runtime: Runtime,
    servicer: WorldModelServicer,
    healthy: health.aio.HealthServicer,
    calls: Calls,
) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", config.max_message_bytes),
            # With port reuse, which is gRPC's default, two servers would share an address without a word.
            ("grpc.so_reuseport", 0),
            *_KEEPALIVE,
        )
    )
    handlers, services, pools = [generic_handler(servicer, calls=calls)], [SERVICE_NAME, health.SERVICE_NAME], []
    if config.open_inference:
        handlers.append(generic_handler(OpenInferenceServicer(runtime), open_inference.SERVICE, calls))
        services.append(open_inference.SERVICE.full_name)
        pools.append(open_inference.POOL)
    if config.reflection:
        handlers.append(reflection.handler(services, *pools))
    server.add_generic_rpc_handlers(guarded(handlers, config, calls))
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)  # open, since probes carry no token
    return server


async def _load_all(
    config: ServerConfig, engine: Engine, runtime: Runtime, ready: Callable[[bool], Awaitable[None]]
) -> None:
    """Load the models one after the other; the server is healthy if at least one is loaded at the end."""
    for source in config.model:
        try:
            (model, memory), _ = await engine.run(FunctionJob(partial(_load, source, config)))
            runtime.models.put(model, memory)
        except ModelLoadError as error:
            if not config.lazy:
                raise
            _log.error("cannot load %s: %s", source.name, error)
            runtime.models.refuse(source.name, error)
    if runtime.models.in_service():
        await ready(True)


def _load(source: ModelSource, config: ServerConfig, _: Event) -> tuple[ServedModel, MemoryUse | None]:
    use_threads(config.threads)
    model = load_model(source, config.device, config.error_detail)
    _log.info("model %s: %d parameters on %s", source.name, model.spec.parameter_count, model.spec.device)
    trim_malloc()
    return model, warm_up(model)


async def _ready(healthy: health.aio.HealthServicer, tally: Tally, ready: bool) -> None:
    """Say whether the server takes calls."""
    tally.ready = ready
    for service in ("", SERVICE_NAME):
        await healthy.set(service, HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING)
