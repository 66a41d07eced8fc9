"""Streams answer at once: the server's headers come when it accepts a stream, before the first message of either side."""

import asyncio
import queue

import grpc
import numpy as np
import pytest

from tests.support.in_process import DEADLINE, Stop
from tests.support.raw_stub import RAW, Stream, a_scene
from tests.support.scenes import candidates
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import PlanCall, UnrollCall
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.v1 import jepa_pb2_grpc

PROMPT = 10.0  # far below the deadline, which ends a call whose headers do not come
PLAN = wire.plan_request(
    PlanCall(scene=a_scene(), planner=PlannerOptions(horizon=2, samples=8, iterations=2, elites=4))
)
UNROLL = wire.unroll_request(UnrollCall(a_scene(), candidates(), actions_are_normalized=False))


async def test_a_score_stream_has_its_headers_before_a_message_is_sent(raw_stub):
    stream = Stream(raw_stub)
    assert await asyncio.wait_for(stream._call.initial_metadata(), PROMPT) is not None
    scores = await raw_stub.score(a_scene(), seed=0)
    np.testing.assert_array_equal(await stream.ask(a_scene(), seed=0), scores)


@pytest.mark.parametrize(("method", "request_"), [("Plan", PLAN), ("Unroll", UNROLL)])
async def test_a_stream_of_answers_has_its_headers_while_the_model_is_at_work(server, raw_stub, method, request_):
    stop = Stop(server.model)
    call = getattr(raw_stub.stub, method)(request_, timeout=DEADLINE)
    try:
        assert await asyncio.wait_for(call.initial_metadata(), PROMPT) is not None
    finally:
        stop.go_on()
    assert len([response async for response in call]) > 0


def stream_opened_before_sending(target):
    """Wait for the headers of a ScoreStream before sending on it, as a tonic host does; return the scores."""
    to_send = queue.SimpleQueue()
    with grpc.insecure_channel(target) as channel:
        stream = jepa_pb2_grpc.WorldModelServiceStub(channel).ScoreStream(iter(to_send.get, None), timeout=PROMPT)
        stream.initial_metadata()
        to_send.put(wire.stream_request(a_scene(), candidates(), options=RAW))
        to_send.put(None)
        return next(stream).score.scores


async def test_a_synchronous_host_may_wait_for_the_headers_before_it_sends(server, raw_stub):
    scores = await asyncio.to_thread(stream_opened_before_sending, server.target)
    np.testing.assert_array_equal(scores, await raw_stub.score(a_scene()))
