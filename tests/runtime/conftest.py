"""A server in the test's own process, whose models count what they are asked to do, and who asks it."""

import pytest

from tests.in_process import DEADLINE, running
from tests.peer import Peer
from worldforge_jepa_client import AsyncClient


@pytest.fixture
async def server():
    async with running(names=("tiny", "other")) as server:
        yield server


@pytest.fixture
async def client(server):
    async with AsyncClient(server.target, timeout=DEADLINE) as client:
        yield client


@pytest.fixture
async def peer(server):
    async with Peer(server) as peer:
        yield peer
