"""A server process on a free port: its address, its log, its end."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.servers.preloaded import PreloadedProcess
from worldforge_jepa_client.errors import UnavailableError
from worldforge_jepa_client.tools import local_server

# The client's tests also run on Pythons without torch; the servers that they call then have another Python.
SERVER_PYTHON = os.environ.get("SERVER_PYTHON", sys.executable)
START_SECONDS = 240  # of a machine that does much else
STOP_SECONDS = 60  # twice what a server gives the calls it drains


class ServerProcess:
    """A `worldforge-jepa-server` on a free port."""

    def __init__(self, *flags: str, listen: str, fresh: bool = False) -> None:
        # Read by its name: reading this file would move the offset at which the server writes.
        self._log = tempfile.NamedTemporaryFile("w", delete=False)  # noqa: SIM115 - lives as long as the process
        flags = ("--listen", listen, *flags)
        self.process: Any
        if fresh or sys.executable != SERVER_PYTHON or sys.platform != "linux":
            self.process = local_server.start(*flags, python=SERVER_PYTHON, log=self._log)
        else:
            self.process = PreloadedProcess(*flags, log=self._log)

    def wait_ready(self) -> ServerProcess:
        try:
            self.target = local_server.ready_address(self.process, START_SECONDS)
        except UnavailableError as error:
            raise AssertionError(self.log) from error
        return self

    @property
    def log(self) -> str:
        return Path(self._log.name).read_text()

    def wait_logged(self, text: str) -> None:
        """Return once the log holds `text`."""
        deadline = time.monotonic() + START_SECONDS
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text!r} never logged:\n{self.log}"
            time.sleep(0.01)

    def terminate(self) -> tuple[int, str]:
        """SIGTERM; the exit code, and whatever else it printed on stdout."""
        self.process.terminate()
        rest, _ = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, rest

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=STOP_SECONDS)

    def close(self) -> None:
        self.kill()
        self._log.close()
        Path(self._log.name).unlink()


def start_fails(*flags: str, listen: str = "127.0.0.1:0") -> tuple[int, str]:
    """Run a server that cannot start: its exit code and what it says."""
    server = ServerProcess(*flags, listen=listen)
    try:
        output, _ = server.process.communicate(timeout=START_SECONDS)
        assert output == ""
        assert "Traceback" not in server.log
        return server.process.returncode, server.log
    finally:
        server.close()
