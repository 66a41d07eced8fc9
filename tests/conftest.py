"""Real servers for the tests: one shared process, and a way to start others."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests import failures
from tests.addresses import babbling_target, dead_target, silent_target  # noqa: F401
from worldforge_jepa_client import Client
from worldforge_jepa_client.provider.runtime import GrpcRuntime

# The machine is shared: a law that holds slowly holds.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

START_SECONDS = 60
STOP_SECONDS = 60  # twice what a server gives the calls it drains


class ServerProcess:
    """A `worldforge-jepa-server` on a free port."""

    def __init__(self, *arguments: str, listen: str = "127.0.0.1:0") -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        command = [sys.executable, "-m", "worldforge_jepa_server", "--listen", listen, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)

    def wait_ready(self) -> ServerProcess:
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        assert self.ready_line.startswith("serving on "), self.log
        self.target = self.ready_line.removeprefix("serving on ").strip()
        return self

    @property
    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def wait_logged(self, text: str) -> None:
        """Return once the log holds `text`."""
        deadline = time.monotonic() + START_SECONDS
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text!r} never logged:\n{self.log}"
            time.sleep(0.01)

    def terminate(self) -> tuple[int, str]:
        """SIGTERM; the exit code, and whatever else it printed on stdout."""
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=STOP_SECONDS)
        return self.process.returncode, rest

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=STOP_SECONDS)

    def close(self) -> None:
        self.kill()
        self._log.close()


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers; kills at the end those that still run."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, listen: str = "127.0.0.1:0") -> ServerProcess:
            server = ServerProcess(*arguments, listen=listen)
            stack.callback(server.close)
            return server.wait_ready()

        yield start


@pytest.fixture(scope="session")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The server that most tests share: the embedded model, and the same model under a second name."""
    return start_server("--model", "tiny", "--model", "other=tiny", "--threads", "1")


@pytest.fixture(scope="session")
def sharing_server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The embedded model behind a server that reads shared memory."""
    return start_server("--shared-memory", "--threads", "1")


@pytest.fixture(scope="session")
def faulty_server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The embedded model beside a model for each case of tests/fixtures/models.json."""
    makers = {name: f"faulty,case={name}" for name in failures.read("models")}
    makers |= {"no-statistics": "faulty,case=none", "no-proprio": "Plain"}
    named = [f"--model={name}=python:tests.python_models:{maker}" for name, maker in makers.items()]
    return start_server("--model", "tiny", *named, "--threads", "1")


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.target, timeout=30) as client:
        yield client


@pytest.fixture
def sharing(sharing_server: ServerProcess) -> Iterator[Client]:
    with Client(sharing_server.target, timeout=30, shared_memory=True) as client:
        yield client


@pytest.fixture
def runtime(server: ServerProcess) -> Iterator[GrpcRuntime]:
    with GrpcRuntime(server.target, timeout=60) as runtime:
        yield runtime
