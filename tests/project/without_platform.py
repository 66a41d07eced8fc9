"""Runs a program as on another system: `python -m tests.project.without_platform windows server --listen ...`.

After the libraries are loaded, which know their system, the names that only Linux has are taken away from Python.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import pkgutil
import signal
import socket
import sys
import sysconfig
from functools import partial
from pathlib import Path

import grpc.aio  # noqa: F401
import numpy as np

MISSING = {
    "darwin": {"os": ("sched_getaffinity", "posix_fallocate"), "modules": ()},
    "win32": {
        "os": (
            "sched_getaffinity",
            "posix_fallocate",
            "geteuid",
            "O_NOFOLLOW",
            "O_NONBLOCK",
            "register_at_fork",
            "fork",
        ),
        "modules": ("fcntl", "resource", "pwd", "grp", "termios"),
    },
}


def become(system: str) -> None:
    """Take away from Python what `system` does not have."""
    for name in MISSING[system]["os"]:
        if hasattr(os, name):
            delattr(os, name)
    for name in MISSING[system]["modules"]:
        sys.modules[name] = None
    if system == "win32":
        for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2"):
            delattr(signal, name)
        socket.socketpair = partial(socket.socketpair, socket.AF_UNIX)  # which asyncio has on every system
        del socket.AF_UNIX
        ctypes.CDLL = _named_library
        asyncio.BaseEventLoop.add_signal_handler = asyncio.SelectorEventLoop.add_signal_handler = _not_implemented
    sys.platform = system


def _named_library(name, *_, **__):
    raise TypeError(f"a library needs a name, not {name}")


def _not_implemented(*_):
    """Raise as asyncio does on Windows, where a loop takes no signal handlers."""
    raise NotImplementedError


def import_all(package: str) -> int:
    """Import every module of a package but its entry points and those of extras not installed; return how many."""
    root, count = importlib.import_module(package), 0
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if info.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if error.name in MISSING[sys.platform]["modules"] or error.name.startswith("worldforge_jepa"):
                raise
        else:
            count += 1
    return count


def score(target: str) -> None:
    """Call a server in each of the client's ways."""
    from tests.support.scenes import RAW, candidates, scene
    from worldforge_jepa_client import Client
    from worldforge_jepa_client.errors import JepaError

    with Client(target, timeout=60) as client:
        scores = client.score(**scene(), action_candidates=candidates(), **RAW).scores
        with client.session(**scene(), **RAW) as session:
            np.testing.assert_array_equal(session.score(candidates()).scores, scores)
        assert client.plan(**scene(), horizon=2, samples=16, iterations=2, elites=4).result().complete
    try:
        Client(target, shared_memory=True)
    except JepaError as error:
        print(error.reason)


def main() -> int:
    """Become the system, and do what the arguments say."""
    system, role, *arguments = sys.argv[1:]
    package = f"worldforge_jepa_{role}"
    if role == "server":
        import torch.utils.data  # noqa: F401 - torch itself is loaded as the system that it is
    else:
        import tests.support.scenes  # noqa: F401 - as is gymnasium
    sysconfig.get_config_vars()  # reads a file that is named after the system
    become(system)
    print(f"{import_all(package)} modules", file=sys.stderr)
    if role == "client":
        score(*arguments)
        return 0
    from worldforge_jepa_server.cli import main as serve

    sys.argv[1:] = arguments
    return serve()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main())
