"""One replica on Ray Serve: the plain server's host, whose calls come over the gRPC server that Ray gives it."""

from __future__ import annotations

import asyncio
import contextlib

from worldforge_jepa_server.app import logs
from worldforge_jepa_server.app.host import Host
from worldforge_jepa_server.config import ServerConfig

host: Host | None = None
"""The host of this process, once its models are loaded; None in Ray's proxy."""


class Replica:
    """A deployment's class; Ray makes one in each replica's process, on the event loop of its gRPC server."""

    async def __init__(self, config: ServerConfig) -> None:  # type: ignore[misc]  # as Ray awaits it
        """Load the models.

        Raises:
            ModelLoadError: one cannot be loaded; Ray tries again, and `serve status` has the message.
        """
        from ray.util.metrics import Gauge

        global host
        logs.configure(config.log_level, config.log_format)
        self._host, self._loop = Host(config), asyncio.get_running_loop()
        self._pending = Gauge("worldforge_jepa_pending", "Jobs that wait for a device or run on one.")
        self._running = contextlib.AsyncExitStack()
        self._running.enter_context(self._host.observed())
        await self._running.enter_async_context(self._host.background())
        await self._host.load()
        host = self._host

    def check_health(self) -> None:
        """Fail where a model does not return; Ray replaces the replica.

        Raises:
            RuntimeError: the host takes no calls.
        """
        if not self._host.ready:
            raise RuntimeError("a model has not returned for longer than hang_seconds")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the pending work, by which `by_pending_work` scales."""
        self._pending.set(self._host.replicas.pending)
        return {"pending": float(self._host.replicas.pending)}

    async def __del__(self) -> None:
        """Drain: end idle streams, and let go of the device."""
        await self._host.refuse()
        await self._running.aclose()
        for engine in self._host.engines:
            engine.close(0.2)
