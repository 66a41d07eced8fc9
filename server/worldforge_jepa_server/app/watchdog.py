"""Watches for a batch that does not return: readiness ends first, then the process, for a supervisor to restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter

from worldforge_jepa_server.app.process import exit_now
from worldforge_jepa_server.scheduling.engine import Engine

_log = logging.getLogger(__name__)
_CHECKS = 10  # in hang_seconds
_EXIT_CODE = 3


async def watch(engines: Sequence[Engine], hang_seconds: float, ready: Callable[[bool], Awaitable[None]]) -> None:
    """Report not ready after a batch has run for `hang_seconds`, ready once it returns, exit after as long again.

    What the server runs for itself, as loading a model, has no model's name and is left to take its time.
    """
    hanging = False
    while True:
        await asyncio.sleep(hang_seconds / _CHECKS)
        batches = [each.running for each in engines if each.running and each.running[0] is not None]
        name, began = min(batches, key=itemgetter(1), default=(None, 0.0))
        seconds = time.perf_counter() - began if name is not None else 0.0
        if seconds > 2 * hang_seconds:
            exit_now(_EXIT_CODE, f"model {name} has not returned for {seconds:.1f} s")
        if (seconds > hang_seconds) != hanging:
            hanging = not hanging
            _log.error(
                "model %s: %s", name, f"has not returned for {seconds:.1f} s" if hanging else "returned, ready again"
            )
            await ready(not hanging)
