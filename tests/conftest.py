"""Real servers for the tests: one shared process, and a way to start others."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.security import certificates, everywhere
from tests.servers.addresses import babbling_target, dead_target, silent_target  # noqa: F401
from tests.servers.process import ServerProcess
from tests.support import failures
from worldforge_jepa_client import Client
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_server.app.cores import set_openmp_environment

set_openmp_environment()  # before a test imports torch

# The machine is shared: torch's threads, which spin while they wait, would slow one another down, and a law that
# holds slowly holds.
os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--secured", action="store_true", help="every server with TLS, tokens, metrics and a JSON log")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--secured"):
        folder = tempfile.TemporaryDirectory()
        config.add_cleanup(folder.cleanup)
        everywhere.secure(certificates.make(Path(folder.name)))


_LONG = (
    "tests/interop/test_hosts.py",
    "tests/provider",
    "tests/docs",
    "tests/diagnosis",
    "tests/models/test_execution.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the long modules first: each is one process's, for which the others would wait in the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


@contextlib.contextmanager
def _servers() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers, by the command itself where `fresh`; kills at the end those that still run."""
    with contextlib.ExitStack() as stack:

        def start(*flags: str, listen: str = "127.0.0.1:0", fresh: bool = False) -> ServerProcess:
            server = ServerProcess(*flags, listen=listen, fresh=fresh)
            stack.callback(server.close)
            server.wait_ready()
            stack.enter_context(everywhere.watched(server))
            return server

        yield start


@pytest.fixture(scope="module")
def start_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers that live at most as long as the module's tests."""
    with _servers() as start:
        yield start


@pytest.fixture(scope="session")
def start_shared_server() -> Iterator[Callable[..., ServerProcess]]:
    """Starts the servers below, which many modules share."""
    with _servers() as start:
        yield start


@pytest.fixture(scope="session")
def server(start_shared_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The server that most tests share: the embedded model, and the same model under a second name."""
    return start_shared_server("--model", "tiny", "--model", "other=tiny", "--threads", "1", fresh=True)


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> certificates.Files:
    """The certificates and tokens of `secured_server`."""
    return certificates.make(tmp_path_factory.mktemp("credentials"))


@pytest.fixture(scope="session")
def secured_server(start_shared_server: Callable[..., ServerProcess], credentials: certificates.Files) -> ServerProcess:
    """The shared server's models behind TLS and tokens."""
    flags = [*credentials.tls_flags(), "--token-file", credentials.token_file]
    return start_shared_server("--model", "tiny", "--model", "other=tiny", "--threads", "1", *flags)


@pytest.fixture(scope="session")
def sharing_server(start_shared_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The embedded model behind a server that reads shared memory."""
    return start_shared_server("--shared-memory", "--threads", "1")


@pytest.fixture(scope="session")
def faulty_server(start_shared_server: Callable[..., ServerProcess]) -> ServerProcess:
    """The embedded model beside a model for each case of tests/fixtures/models.json."""
    makers = {name: f"external.faulty_models:faulty,case={name}" for name in failures.read("models")}
    makers |= {"no-statistics": "external.faulty_models:faulty,case=none", "no-proprio": "support.python_models:Plain"}
    named = [f"--model={name}=python:tests.{maker}" for name, maker in makers.items()]
    return start_shared_server("--model", "tiny", *named, "--threads", "1")


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
