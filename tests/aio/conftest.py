"""The client of these tests, for asyncio; those of tests/sync, made from these, use the blocking one."""

import pytest

from worldforge_jepa_client import AsyncClient


@pytest.fixture
async def client(server):
    async with AsyncClient(server.target, timeout=30) as client:
        yield client
