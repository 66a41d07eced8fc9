"""The messages that a server holds: decoded beside the event loop, bounded, and let go of when a call has ended."""

import asyncio
import contextlib
import gc
import logging
import statistics
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.in_process import running
from tests.support.raw_stub import RawStub
from worldforge_jepa_client import Client, wire
from worldforge_jepa_client.contract.types import Observation, Scene, ScoreCall, ScoreOptions
from worldforge_jepa_client.errors import ResourceExhaustedError
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc

DEADLINE = 60
MIB = 2**20
SIZE = 3 * MIB
MODELS = "python:tests.support.python_models"
CANDIDATES = np.zeros((1, 3, 2, 2), np.float32)


def scene(mebibytes):
    """A scene whose frame has so many MiB."""
    frame = np.zeros((3, mebibytes * 512, 1024 * 2 // 3), np.uint8)
    return {"observation": frame, "goal": np.zeros((3, 4, 4), np.uint8)}


@pytest.fixture(scope="module")
def small(start_server, tmp_path_factory):
    """A server with room for 40 MiB of messages, and a model that waits for a file."""
    gate = tmp_path_factory.mktemp("gate") / "open"
    models = [f"quick={MODELS}:ScoreActions", f"slow={MODELS}:Patient,path={gate}"]
    server = start_server(
        *(f"--model={model}" for model in models), "--message-budget=40MiB", "--threads=1", "--log-level=debug"
    )
    server.gate = gate
    return server


CALLS = 16  # with 4 a server that decodes on its loop passed two times of five


def test_health_answers_while_a_large_extra_info_is_decoded(small):
    extra = Struct()
    extra.update({str(number): number for number in range(45_000)})
    request = jepa_pb2.ScoreRequest(extra_info=extra, context_id="none")
    request.action_candidates.CopyFrom(jepa_pb2.Tensor(dtype=1, shape=[1], data=b"1234"))
    assert MIB // 2 < request.ByteSize() < MIB
    latencies, stop = [], threading.Event()
    with grpc.insecure_channel(small.target) as channel, grpc.insecure_channel(small.target) as other:
        stub, probe = jepa_pb2_grpc.WorldModelServiceStub(channel), health_pb2_grpc.HealthStub(other).Check
        probe(health_pb2.HealthCheckRequest(), timeout=DEADLINE)

        def watch():
            while not stop.is_set():
                began = time.monotonic()
                probe(health_pb2.HealthCheckRequest(), timeout=DEADLINE)
                latencies.append(time.monotonic() - began)

        watching = threading.Thread(target=watch)
        watching.start()
        began = time.monotonic()
        for _ in range(CALLS):
            with pytest.raises(grpc.RpcError):
                stub.Score(request, timeout=DEADLINE)
        took = time.monotonic() - began
        stop.set()
        watching.join()
    # A probe takes a third of a call; where the loop decodes it waits for the whole of one.
    assert statistics.median(latencies) < took / CALLS * 2 / 3


def wide_scene():
    """A scene for the embedded model whose frame has SIZE bytes."""
    frame = np.zeros((1, 1, 3, 2048, SIZE // 3 // 2048), np.uint8)
    proprio = np.full((1, 1, 2), 30.0, np.float32)
    return Scene(Observation(frame, proprio), Observation(frame[..., :64], proprio))


def raising(_):
    raise RuntimeError("the model's own")


@pytest.mark.parametrize("fault", ["candidates", "model"])
async def test_a_refused_message_is_let_go_of_without_a_garbage_collection(fault, monkeypatch):
    actions = np.zeros((1, 4, 2, 3 if fault == "candidates" else 10), np.float32)
    data = wire.score_request(ScoreCall(wide_scene(), actions)).SerializeToString()
    async with running() as server, RawStub(server) as raw_stub:
        if fault == "model":
            server.model.encode = raising
            monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)  # pytest keeps what is logged
        score = raw_stub.channel.unary_unary("/worldforge.jepa.v1.WorldModelService/Score")
        with traced() as held:
            for _ in range(8):
                with pytest.raises(grpc.RpcError) as refused:
                    await score(data, timeout=DEADLINE)
            assert refused.value.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED
            del refused
            end = time.monotonic() + 10  # the caller has its answer a moment before the server's task ends
            while held() >= 2 * SIZE:
                assert time.monotonic() < end
                await asyncio.sleep(0)


async def test_an_idle_stream_keeps_its_scene_once():
    data = wire.stream_request(wide_scene(), None, options=ScoreOptions()).SerializeToString()
    async with running() as server, RawStub(server) as raw_stub:
        stream = raw_stub.channel.stream_stream("/worldforge.jepa.v1.WorldModelService/ScoreStream")(timeout=DEADLINE)
        with traced() as held:
            await stream.write(data)
            answer = jepa_pb2.ScoreStreamResponse.FromString(await stream.read())
            assert held() < 1.5 * SIZE
        assert not answer.HasField("error"), answer
        stream.cancel()


@contextlib.contextmanager
def traced():
    """Yield a function that returns the bytes Python has allocated since, with no garbage collection between."""
    gc.disable()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        gc.enable()


def test_beyond_the_bound_a_message_is_refused_with_a_delay(small):
    with Client(small.target, timeout=DEADLINE) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.score, **scene(25), action_candidates=CANDIDATES, model="slow")
        small.wait_logged("score on slow")
        with pytest.raises(ResourceExhaustedError) as refused:
            client.score(**scene(25), action_candidates=CANDIDATES, model="quick")
        assert (refused.value.reason, refused.value.retry_after) == ("MESSAGES_FULL", 1.0)
        Path(small.gate).touch()
        waiting.result(DEADLINE)
        client.score(**scene(25), action_candidates=CANDIDATES, model="quick")


def test_an_idle_stream_makes_room_and_its_session_goes_on(small):
    with Client(small.target, timeout=DEADLINE) as client, client.session(**scene(25), model="quick") as session:
        first = session.score(CANDIDATES)
        client.score(**scene(25), action_candidates=CANDIDATES, model="quick")
        np.testing.assert_array_equal(session.score(CANDIDATES).scores, first.scores)
        assert session.reconnects == 1
