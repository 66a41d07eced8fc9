"""Addresses without a server, as fixtures for the tests here and for those where WorldForge runs."""

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def dead_target() -> Iterator[str]:
    """An address that refuses connections: bound, so that nobody else takes it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def silent_target() -> Iterator[str]:
    """An address that accepts connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
