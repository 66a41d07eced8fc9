"""Clients share the device, however many streams each has open and whether or not it reads their answers."""

import asyncio
import contextlib

import grpc
import pytest

from tests.support.in_process import DEADLINE, StandingStill, Stop, running, waiting
from tests.support.raw_stub import RAW, RawStub, Stream, a_scene
from tests.support.scenes import candidates
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import PlanCall, ScoreCall
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.v1 import jepa_pb2_grpc
from worldforge_jepa_client.wire.metadata import SESSION_METADATA

HORIZON, MANY, FEW = 2, 300, 7
WINDOW = 16 * 2**20  # bytes that a client of gRPC takes on a fast connection before its caller reads
PLAN = PlanCall(a_scene(), planner=PlannerOptions(horizon=HORIZON, samples=MANY, iterations=1000, elites=4))


def open_plans(raw_stub, count):
    return [raw_stub.stub.Plan(wire.plan_request(PLAN), timeout=DEADLINE) for _ in range(count)]


def open_unread_streams(raw_stub, count):
    """Streams whose client sends many messages and reads no answer."""
    return [asyncio.create_task(send_without_reading(raw_stub)) for _ in range(count)]


async def send_without_reading(raw_stub, samples=MANY, horizon=HORIZON):
    stream = Stream(raw_stub)
    with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
        await stream.send(a_scene(), seed=0, samples=samples, horizon=horizon)
        while True:
            await stream.send(seed=0, samples=samples, horizon=horizon)


@pytest.fixture
async def other(server):
    """The stub of another client: a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.target, options=options) as channel:
        yield jepa_pb2_grpc.WorldModelServiceStub(channel)


async def batches_until_scored(server, stub, metadata=()):
    """Return how many batches run from now on until another client's small call is scored, its own included."""
    stop, sizes = Stop(server.model), []
    await stop.reached()
    before = server.engine.pending
    request = wire.score_request(ScoreCall(a_scene(), candidates(samples=FEW, horizon=HORIZON), options=RAW))
    answer = asyncio.ensure_future(stub.Score(request, metadata=metadata, timeout=DEADLINE))
    await waiting(server, before + 1)
    server.engine.on_batch = lambda batch: sizes.append(batch[1])
    stop.go_on()
    await answer
    return 1 + next(number for number, size in enumerate(sizes) if size % MANY == FEW)


@pytest.mark.parametrize(("opened", "count"), [(open_plans, 20), (open_unread_streams, 50)])
async def test_the_streams_of_a_client_delay_another_by_one_batch(server, raw_stub, other, opened, count):
    streams = opened(raw_stub, count)
    await waiting(server, count)
    assert await batches_until_scored(server, other) == 2  # the one that ran, and the call's
    for each in streams:
        each.cancel()


async def test_behind_a_proxy_the_session_id_tells_clients_apart(server, raw_stub):
    plans = open_plans(raw_stub, 20)
    await waiting(server, 20)
    metadata = [(SESSION_METADATA, "another robot")]
    assert await batches_until_scored(server, raw_stub.stub, metadata) == 2
    for each in plans:
        each.cancel()


async def test_a_stream_whose_answers_are_not_read_is_scored_no_further():
    model = StandingStill()
    async with running(models={"tiny": model}) as server, RawStub(server) as raw_stub:
        sending = asyncio.create_task(send_without_reading(raw_stub, samples=2000, horizon=1))
        scored = -1
        while scored != model.steps or server.engine.pending or not scored:
            scored = model.steps
            await asyncio.sleep(0.3)  # far longer than such a score takes
        sending.cancel()
    assert scored * 8000 < 2 * WINDOW  # an answer has 2000 scores of 4 bytes
