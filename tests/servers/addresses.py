"""Addresses without a server, as fixtures for the tests here and for those where WorldForge runs."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest


@pytest.fixture
def dead_target() -> Iterator[str]:
    """An address that refuses connections: bound, so that no other process takes it, but not listening."""
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


class _Babbler(grpc.GenericRpcHandler):
    """Answers every method with bytes that are no message."""

    def service(self, details):
        if details.method.endswith("/Plan"):
            return grpc.unary_stream_rpc_method_handler(lambda *_: iter([b"\xff"]))
        return grpc.unary_unary_rpc_method_handler(lambda *_: b"\xff")


@pytest.fixture
def babbling_target() -> Iterator[str]:
    """An address of a gRPC server whose responses cannot be parsed."""
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Babbler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()
