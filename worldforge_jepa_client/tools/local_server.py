"""Starts a server process, where the server package and its dependencies are installed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from typing import IO

from worldforge_jepa_client.errors import UnavailableError
from worldforge_jepa_client.reasons import Reason

_NEEDS = ("worldforge_jepa_server", "torch", "safetensors", "grpc_health", "grpc_reflection")
_STOP_SECONDS = 30.0


@contextlib.contextmanager
def running_server(*flags: str, start_seconds: float = 120.0) -> Iterator[str]:
    """Start a `worldforge-jepa-server` on a free port; yield its address, and stop it at the end.

    Args:
        *flags: further flags of the server; it logs warnings to this process's stderr.
        start_seconds: the time that loading its models may take.

    Raises:
        UnavailableError: the server is not installed, or did not start.
    """
    _check_installed()
    with start("--listen", "127.0.0.1:0", "--log-level", "warning", *flags) as process:
        try:
            yield ready_address(process, start_seconds)
        finally:
            stop(process)


def _check_installed() -> None:
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"there is no server to start here, {', '.join(missing)} missing: name the target of a running one, or "
            "pip install '.[server]' in a checkout of worldforge-jepa",
            reason=Reason.SERVER_NOT_INSTALLED,
        )


def start(
    *flags: str, module: str = "worldforge_jepa_server", python: str = sys.executable, log: IO[str] | None = None
) -> subprocess.Popen[str]:
    """Start a server process, `python -m module`; its log goes to `log`, by default to this process's stderr."""
    return subprocess.Popen([python, "-m", module, *flags], stdout=subprocess.PIPE, stderr=log, text=True)  # noqa: S603


def ready_address(process: subprocess.Popen[str], start_seconds: float) -> str:
    """Return the address that a server prints once it is ready.

    Raises:
        UnavailableError: it ended before, or was not ready within `start_seconds` and has been killed.
    """
    assert process.stdout is not None
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        process.kill()

    too_late = threading.Timer(start_seconds, kill)
    too_late.daemon = True
    too_late.start()
    try:
        ready = process.stdout.readline()
    finally:  # also after Ctrl-C, which must not wait for the timer
        too_late.cancel()
    if not ready:
        code = process.wait()
        what = f"was not ready within {start_seconds:g} s" if killed.is_set() else f"ended with exit code {code}"
        raise UnavailableError(f"the server {what}; its log says why", reason=Reason.SERVER_DID_NOT_START)
    return ready.removeprefix("serving on ").strip()


def stop(process: subprocess.Popen[str]) -> None:
    """End a server with SIGTERM; one that takes too long is killed."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
