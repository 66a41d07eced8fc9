"""Real servers for the tests: one shared process, and a way to start others."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests.security import certificates
from tests.support import failures
from tests.support.addresses import babbling_target, dead_target, silent_target  # noqa: F401
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import UnavailableError
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_client.tools import local_server
from worldforge_jepa_server.app.cores import set_openmp_environment

set_openmp_environment()  # before a test imports torch

# The machine is shared: torch's threads, which spin while they wait, would slow one another down, and a law that
# holds slowly holds.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")

# The client's tests also run on Pythons without torch; the servers that they call then have another Python.
SERVER_PYTHON = os.environ.get("SERVER_PYTHON", sys.executable)
START_SECONDS = 240  # of a machine that does much else
STOP_SECONDS = 60  # twice what a server gives the calls it drains


class ServerProcess:
    """A `worldforge-jepa-server` on a free port."""

    def __init__(self, *flags: str, listen: str) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self.process = local_server.start("--listen", listen, *flags, python=SERVER_PYTHON, log=self._log)

    def wait_ready(self) -> ServerProcess:
        try:
            self.target = local_server.ready_address(self.process, START_SECONDS)
        except UnavailableError as error:
            raise AssertionError(self.log) from error
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
        self.process.terminate()
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

        def start(*flags: str, listen: str = "127.0.0.1:0") -> ServerProcess:
            server = ServerProcess(*flags, listen=listen)
            stack.callback(server.close)
            return server.wait_ready()

        yield start


@pytest.fixture(scope="session")
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The server that most tests share: the embedded model, and the same model under a second name."""
    return start_server("--model", "tiny", "--model", "other=tiny", "--threads", "1")


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> certificates.Files:
    """The certificates and tokens of `secured_server`."""
    return certificates.make(tmp_path_factory.mktemp("credentials"))


@pytest.fixture(scope="session")
def secured_server(start_server: Callable[..., ServerProcess], credentials: certificates.Files) -> ServerProcess:
    """The shared server's models behind TLS and tokens."""
    flags = [*credentials.tls_flags(), "--token-file", credentials.token_file]
    return start_server("--model", "tiny", "--model", "other=tiny", "--threads", "1", *flags)


@pytest.fixture(scope="session")
def sharing_server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The embedded model behind a server that reads shared memory."""
    return start_server("--shared-memory", "--threads", "1")


@pytest.fixture(scope="session")
def faulty_server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The embedded model beside a model for each case of tests/fixtures/models.json."""
    makers = {name: f"faulty_models:faulty,case={name}" for name in failures.read("models")}
    makers |= {"no-statistics": "faulty_models:faulty,case=none", "no-proprio": "python_models:Plain"}
    named = [f"--model={name}=python:tests.{maker}" for name, maker in makers.items()]
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
