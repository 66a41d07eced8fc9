"""A client that sends and does not read, through HAProxy: flow control holds it, and the replica's memory is bounded."""

import itertools
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from benchmarks.scale.load import MODEL, SCENE
from worldforge_jepa_client import Client, wire
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.v1 import jepa_pb2_grpc

pytestmark = pytest.mark.ray
CANDIDATES = np.zeros((1, 4096, 6, 10), np.float32)  # about 1 MB
SECONDS, MOST_GROWTH = 6, 200 << 20


def resident(pids):
    """Bytes of memory of each process."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return [int(each.partition("VmRSS:")[2].split()[0]) * 1024 for each in status]


def test_a_flooding_stream_leaves_the_memory_of_the_replicas_bounded_and_other_connections_alone(cluster):
    replicas = cluster.replicas()
    sent, over = itertools.count(), threading.Event()

    def flood():
        yield wire.stream_request(build_scene(SCENE["observation"], SCENE["goal"], None), CANDIDATES, model=MODEL)
        message = wire.stream_request(None, CANDIDATES)
        while not over.is_set():
            next(sent)
            yield message

    with grpc.insecure_channel(cluster.target) as channel:
        before = resident(replicas)
        call = jepa_pb2_grpc.WorldModelServiceStub(channel).ScoreStream(flood(), metadata=[("session_id", "flood")])
        over.wait(SECONDS)
        with Client(cluster.target, timeout=SECONDS) as other:
            other.score(action_candidates=CANDIDATES[:, :64], model=MODEL, **SCENE)
        after = resident(replicas)
        over.set()
        call.cancel()
    assert next(sent) > 20
    growth = [b - a for a, b in zip(before, after, strict=True)]
    assert max(growth) < MOST_GROWTH, (growth, next(sent))
