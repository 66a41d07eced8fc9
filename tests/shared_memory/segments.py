"""Segments of shared memory in tests: requests for them, what a server reads, and what this process has of them."""

import contextlib
import time
from pathlib import Path

from worldforge_jepa_client.shm.segments import PREFIX
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.rpc.shared_memory import parser

DEADLINE = 60
_parse = parser(ServerConfig(shared_memory=True))


def request(array):
    """A request with these candidates alone."""
    message = jepa_pb2.ScoreRequest()
    tensors.encode(array, message.action_candidates)
    return message


def received(message, parse=_parse):
    """The candidates that a server finds in a request."""
    request = parse(message.SerializeToString(), jepa_pb2.ScoreRequest)
    return tensors.decode(request.message.action_candidates, field="action_candidates")


def held():
    """The names of the segments that this process has, and has not removed."""
    links = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            links.add(descriptor.readlink())
    return {link.name for link in links if link.name.startswith(PREFIX) and link.exists()}


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
