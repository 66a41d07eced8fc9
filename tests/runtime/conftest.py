"""A server in the test's own process, whose models count their calls, and its callers."""

import pytest

from tests.support.in_process import DEADLINE, running
from tests.support.raw_stub import RawStub
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
async def raw_stub(server):
    async with RawStub(server) as raw_stub:
        yield raw_stub
