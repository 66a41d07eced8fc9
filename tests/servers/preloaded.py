"""Server processes whose imports are already done: each is forked from one process that has imported torch.

Some sixty servers start in the tests, and importing torch takes seconds of CPU each time. What the command itself does
before is tested by servers that start from nothing (`fresh=True`).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Any

_CONTEXT: Any = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.servers.imported"])


class PreloadedProcess:
    """A server process with the part of `subprocess.Popen` that tests use."""

    def __init__(self, *flags: str, log: IO[str]) -> None:
        read, write = os.pipe()
        arguments = (flags, dict(os.environ), str(Path.cwd()), _Descriptor(write), _Descriptor(log.fileno()))
        self._process = _CONTEXT.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        os.close(write)
        self.pid = self._process.pid
        self.stdout = os.fdopen(read)

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("worldforge-jepa-server", timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        if self.stdout.closed:
            return "", None
        with self.stdout:
            return self.stdout.read(), None

    def send_signal(self, signum: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Descriptor:
    """A file descriptor that is duplicated in the process it is sent to."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return reduction.DupFd(self._number).detach, ()


def _run(flags: tuple[str, ...], environment: dict[str, str], folder: str, output: int, log: int) -> None:
    from worldforge_jepa_server.__main__ import main

    os.dup2(output, 1)
    os.dup2(log, 2)
    os.close(output)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["worldforge-jepa-server", *flags]
    code = main()
    logging.shutdown()  # at exit, which a forked process skips
    sys.exit(code)
