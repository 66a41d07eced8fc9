"""One server process: bind, load, warm up, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2_grpc

from worldforge_jepa_server.app.host import Host
from worldforge_jepa_server.app.listen import bound
from worldforge_jepa_server.app.process import Signals, exit_now
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.rpc.connections import connection_options
from worldforge_jepa_server.rpc.security import tls
from worldforge_jepa_server.runtime.replicas import Replicas
from worldforge_jepa_server.scheduling.engine import Engine

_log = logging.getLogger(__name__)

_CHECK_SECONDS, _IDLE_CHECKS = 0.1, 10
_CLOSE_SECONDS = 0.2


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
    host = Host(config)
    server, credentials = _build(config, host), tls.server_credentials(config)
    try:
        with (
            host.observed(),
            Signals(config.drain_seconds) as signals,
            bound(server, config.listen, credentials) as address,
        ):
            await host.set_ready(False)
            await server.start()
            ended = asyncio.create_task(server.wait_for_termination())  # never cancelled: `stop` would be too
            async with host.background():
                loading = asyncio.create_task(host.load())
                if not config.lazy:
                    await _first(signals.stopping, ended, loading)
                if signals.stopping.is_set():  # nothing was accepted yet
                    return
                announce(f"serving on {address}")
                await _first(signals.stopping, ended)
                loading.cancel()
                await host.refuse()
                await _drain(server, host.replicas, signals, config.drain_seconds)
    finally:
        await server.stop(None)
        _close(host.engines)


def _close(engines: Sequence[Engine]) -> None:
    """Let the device threads end; where a model holds one, exit: with 1 where a call or the start fails by that."""
    error, end = sys.exc_info()[1], time.monotonic() + _CLOSE_SECONDS
    for stuck in [each for each in engines if not each.close(max(0, end - time.monotonic()))]:
        name, _ = stuck.running or (None, 0.0)  # no name: a model was loading, and no call is lost
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


async def _drain(server: grpc.aio.Server, replicas: Replicas, signals: Signals, seconds: float) -> None:
    """Let accepted calls finish; streams that only watch, or are not read, are ended once the devices are idle."""
    _log.info("draining: accepted calls may take %g s to finish", seconds)
    stopped = asyncio.ensure_future(server.stop(seconds))
    idle = 0
    while idle < _IDLE_CHECKS and not signals.hurried.is_set():
        done, _ = await asyncio.wait([stopped], timeout=_CHECK_SECONDS)
        if done:
            return
        idle = 0 if replicas.pending else idle + 1
    await server.stop(None)
    await stopped


def _build(config: ServerConfig, host: Host) -> grpc.aio.Server:
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", config.max_message_bytes),
            ("grpc.max_send_message_length", config.max_message_bytes),
            # With port reuse, which is gRPC's default, two servers would share an address without a word.
            ("grpc.so_reuseport", 0),
            *connection_options(config),
        )
    )
    server.add_generic_rpc_handlers(host.handlers())
    health_pb2_grpc.add_HealthServicer_to_server(host.health, server)  # open, since probes carry no token
    return server
