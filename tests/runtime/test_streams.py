"""Streams on the server: headers at once, one answer to each message, in order, and a scene that changes in part."""

import asyncio
import queue

import grpc
import numpy as np
import pytest

from tests.support.in_process import DEADLINE, Stop
from tests.support.raw_stub import RAW, Stream, a_scene
from tests.support.scenes import candidates, scene
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import PlanCall, Scene, UnrollCall
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc

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


async def test_a_stream_scores_as_unary_calls_do_and_encodes_its_scene_once(server, raw_stub):
    expected = [await raw_stub.score(a_scene(), seed=seed) for seed in range(4)]
    server.model.encoded = 0
    stream = Stream(raw_stub)
    assert await stream.ask(a_scene(start=(15.0, 15.0))) is None
    assert server.model.encoded == 1
    await stream.ask(a_scene())
    for seed in range(4):
        np.testing.assert_array_equal(await stream.ask(seed=seed), expected[seed])
    assert server.model.encoded == 1


async def test_answers_come_in_order_when_requests_run_ahead(raw_stub):
    expected = [await raw_stub.score(a_scene(), seed=seed, samples=seed + 1) for seed in range(8)]
    stream = Stream(raw_stub)
    await stream.send(a_scene(), seed=0, samples=1)
    for seed in range(1, 8):
        await stream.send(seed=seed, samples=seed + 1)
    for scores in expected:
        np.testing.assert_array_equal(await stream.receive(), scores)


async def test_a_refused_message_changes_nothing_and_the_stream_goes_on(raw_stub):
    stream = Stream(raw_stub)
    assert (await stream.ask(seed=0)).reason == "NO_SCENE"
    good = await stream.ask(a_scene(), seed=0)
    wrong_goal = build_scene(scene()["observation"], np.zeros((1, 1, 4, 8, 8), np.uint8), None)
    error = await stream.ask(wrong_goal, seed=0)
    assert (error.code.name, error.field) == ("INVALID_ARGUMENT", "context.goal.visual")
    moved = a_scene(start=(20.0, 20.0))
    await stream._call.write(wire.stream_request(moved, np.zeros((1, 1, 1, 3), np.float32)))
    assert (await stream.receive()).field == "action_candidates"
    np.testing.assert_array_equal(await stream.ask(seed=0), good)


async def test_bytes_that_are_no_message_get_an_error_in_the_stream(raw_stub):
    call = raw_stub.channel.stream_stream("/worldforge.jepa.v1.WorldModelService/ScoreStream")(timeout=DEADLINE)
    await call.write(b"\xff\xff\xff")
    response = jepa_pb2.ScoreStreamResponse.FromString(await call.read())
    assert response.error.reason == "MALFORMED_MESSAGE"
    await call.write(wire.stream_request(a_scene(), candidates(), options=RAW).SerializeToString())
    assert len(jepa_pb2.ScoreStreamResponse.FromString(await call.read()).score.scores) == 4


async def test_a_goal_or_observation_is_replaced_in_mid_stream(server, raw_stub):
    stream = Stream(raw_stub)
    await stream.ask(a_scene(), seed=0)
    goal = a_scene(goal=(20.0, 40.0)).goal
    await stream.send(Scene(goal=goal), seed=1)
    np.testing.assert_array_equal(await stream.receive(), await raw_stub.score(a_scene(goal=(20.0, 40.0)), seed=1))
    observation = a_scene(start=(10.0, 50.0)).observation
    await stream.send(Scene(observation=observation), seed=2)
    expected = await raw_stub.score(a_scene(start=(10.0, 50.0), goal=(20.0, 40.0)), seed=2)
    np.testing.assert_array_equal(await stream.receive(), expected)


async def test_a_draining_server_ends_idle_streams_with_a_status(server, raw_stub):
    stream = Stream(raw_stub)
    await stream.ask(a_scene(), seed=0)
    server.servicer.intake.drain()
    assert await stream._call.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_sends_faster_than_the_model_scores_is_slowed(server, raw_stub):
    count, stop = 600, Stop(server.model)
    stream = Stream(raw_stub)

    async def send_all():
        await stream.send(a_scene(), seed=0, samples=300, horizon=6)
        for _ in range(count - 1):
            await stream.send(seed=0, samples=300, horizon=6)  # 72 KB each, 43 MB in all

    sending = asyncio.create_task(send_all())
    await stop.reached()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(sending), 2)
    assert server.engine.pending == 1  # the server reads no message before it has answered the last
    sending.cancel()
    stream.cancel()
    stop.go_on()
