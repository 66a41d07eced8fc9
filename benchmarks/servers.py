"""Server processes to measure, with their memory and CPU time from /proc (Linux)."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from worldforge_jepa_client.tools.local_server import ready_address, start, stop

MIB, START_SECONDS = 2**20, 600.0  # some models are compiled first


@dataclass(frozen=True)
class Server:
    """A process that serves on `target`, `ready_seconds` after it was started."""

    target: str
    process: subprocess.Popen[str]
    ready_seconds: float

    @property
    def resident(self) -> int:
        """Bytes of memory that the process holds now."""
        return self._memory("VmRSS")

    @property
    def peak(self) -> int:
        """Bytes of memory that the process has held at most since `forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        """Begin anew to look for the peak (man 5 proc, clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024


def serving(
    *flags: str, module: str = "worldforge_jepa_server", log: IO[str] | None = None
) -> contextlib.AbstractContextManager[Server]:
    """Start a server with these flags on a free port; its log goes to `log`, by default to this process's stderr."""
    return started(module, "--listen", "127.0.0.1:0", "--log-level", "warning", *flags, log=log)


@contextlib.contextmanager
def started(module: str, *arguments: str, log: IO[str] | None = None) -> Iterator[Server]:
    """Start `python -m module` and wait until it says `serving on <target>`; end it afterwards."""
    began = time.perf_counter()
    with start(*arguments, module=module, log=log) as process:
        try:
            target = ready_address(process, START_SECONDS)
            yield Server(target, process, time.perf_counter() - began)
        finally:
            stop(process)
