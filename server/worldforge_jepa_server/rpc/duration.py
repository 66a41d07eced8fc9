"""Bounds how long a call takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from worldforge_jepa_client.errors import DeadlineExceededError


@contextlib.contextmanager
def time_limit(seconds: float, flag: str) -> Iterator[None]:
    """End the call of the current task after so long, whether it computes or waits for its client to read.

    Raises:
        DeadlineExceededError: it was computing.
    """
    task, over = asyncio.current_task(), False
    assert task is not None

    def end() -> None:
        nonlocal over
        over = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        yield
    except asyncio.CancelledError:
        if over:
            raise DeadlineExceededError(f"the call took longer than the server's {flag}, {seconds:g} s") from None
        raise
    finally:
        timer.cancel()
