"""Contexts, streams, latents and plans on the server: what is computed, what is remembered, what is refused."""

import asyncio
import threading

import grpc
import numpy as np
import pytest

from tests.in_process import running
from tests.scenes import raw_candidates, scene
from worldforge_jepa_client import messages, session_messages
from worldforge_jepa_client.arguments import build_scene
from worldforge_jepa_client.calls import PlanCall, ScoreCall, ScoreOptions, UnrollCall
from worldforge_jepa_client.errors import from_message, from_rpc_error
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc

DEADLINE = 60
RAW = ScoreOptions(actions_are_normalized=False)


def a_scene(**positions):
    arrays = scene(**positions)
    return build_scene(arrays["observation"], arrays["goal"], None)


def candidates(samples=4, horizon=2, seed=0):
    return raw_candidates(samples, horizon, seed)["action_candidates"]


def score_request(where, seed=0, **sizes):
    return messages.score_request(ScoreCall(where, candidates(seed=seed, **sizes), options=RAW))


class Peer:
    """A stub on a running server, and the error of a call that must fail."""

    def __init__(self, server):
        self.channel = grpc.aio.insecure_channel(server.target)
        self.stub = jepa_pb2_grpc.WorldModelServiceStub(self.channel)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.channel.close()

    async def context(self, where, model=""):
        request = session_messages.context_request(where, model)
        return (await self.stub.CreateContext(request, timeout=DEADLINE)).context_id

    async def score(self, where, **sizes):
        return np.array((await self.stub.Score(score_request(where, **sizes), timeout=DEADLINE)).scores)

    async def refused(self, call):
        with pytest.raises(grpc.RpcError) as caught:
            await call
        return from_rpc_error(caught.value, "server")


@pytest.fixture
async def server():
    async with running(names=("tiny", "other")) as server:
        yield server


@pytest.fixture
async def peer(server):
    async with Peer(server) as peer:
        yield peer


async def test_a_context_scores_as_the_scene_sent_whole_and_is_encoded_once(server, peer):
    whole = await peer.score(a_scene())
    before = server.model.encoded
    context_id = await peer.context(a_scene())
    for _ in range(3):
        np.testing.assert_array_equal(await peer.score(context_id), whole)
    assert server.model.encoded == before == 2


async def test_the_same_content_is_encoded_once_however_it_comes(server, peer):
    await peer.score(a_scene())
    await peer.score(a_scene())
    assert server.model.encoded == 2
    await peer.score(a_scene(start=(14.0, 30.0)))  # a new observation, the same goal
    assert server.model.encoded == 3
    await peer.score(a_scene(start=(14.0, 30.0), goal=(20.0, 30.0)))
    assert server.model.encoded == 4


async def test_models_do_not_share_latents(server, peer):
    await peer.score(a_scene())
    request = score_request(a_scene())
    request.model = "other"
    await peer.stub.Score(request, timeout=DEADLINE)
    assert (server.models["tiny"].encoded, server.models["other"].encoded) == (2, 2)


async def test_ids_are_long_and_differ(peer):
    ids = {await peer.context(a_scene()) for _ in range(20)}
    assert len(ids) == 20
    assert min(map(len, ids)) >= 20


async def test_unknown_and_deleted_contexts_are_not_found(peer):
    context_id = await peer.context(a_scene())
    await peer.stub.DeleteContext(jepa_pb2.DeleteContextRequest(context_id=context_id), timeout=DEADLINE)
    for call in (
        peer.stub.Score(score_request(context_id), timeout=DEADLINE),
        peer.stub.Score(score_request("nonsense"), timeout=DEADLINE),
        peer.stub.DeleteContext(jepa_pb2.DeleteContextRequest(context_id=context_id), timeout=DEADLINE),
    ):
        error = await peer.refused(call)
        assert (error.code.name, error.reason, error.field) == ("NOT_FOUND", "CONTEXT_NOT_FOUND", "context_id")


async def test_a_context_of_another_model_is_refused(peer):
    request = score_request(await peer.context(a_scene(), "other"))
    assert (await peer.stub.Score(request, timeout=DEADLINE)).metadata["model"] == "other"
    request.model = "tiny"
    error = await peer.refused(peer.stub.Score(request, timeout=DEADLINE))
    assert (error.code.name, error.reason) == ("FAILED_PRECONDITION", "CONTEXT_OF_OTHER_MODEL")


async def test_a_context_whose_goal_had_no_proprio_can_only_leave_it_out(peer):
    arrays = scene()
    where = build_scene(arrays["observation"], arrays["goal"]["visual"], None)
    request = score_request(await peer.context(where))
    error = await peer.refused(peer.stub.Score(request, timeout=DEADLINE))
    assert (error.reason, error.field) == ("MISSING_FIELD", "context.goal.proprio")
    request.options.proprio_weight = 0
    assert len((await peer.stub.Score(request, timeout=DEADLINE)).scores) == 4


async def test_contexts_make_room_for_newer_ones_and_expire():
    async with running(cache_mib=0, context_ttl=1000.0) as server, Peer(server) as peer:
        first, second = await peer.context(a_scene()), await peer.context(a_scene())
        assert (
            await peer.refused(peer.stub.Score(score_request(first), timeout=DEADLINE))
        ).reason == "CONTEXT_NOT_FOUND"
        assert len(await peer.score(second)) == 4
    async with running(context_ttl=0.0) as server, Peer(server) as peer:
        gone = await peer.context(a_scene())
        server.runtime.expire()
        assert (
            await peer.refused(peer.stub.Score(score_request(gone), timeout=DEADLINE))
        ).reason == "CONTEXT_NOT_FOUND"


class Stream:
    """A ScoreStream whose messages are written and read one by one."""

    def __init__(self, peer):
        self._call = peer.stub.ScoreStream(timeout=DEADLINE)

    async def send(self, changes=None, seed=None, **sizes):
        array = None if seed is None else candidates(seed=seed, **sizes)
        await self._call.write(session_messages.stream_request(changes, array, options=RAW))

    async def receive(self):
        response = await self._call.read()
        if response.WhichOneof("result") == "error":
            return from_message(response.error)
        return np.array(response.score.scores) if response.WhichOneof("result") else None

    def cancel(self):
        self._call.cancel()

    async def ask(self, *arguments, **keywords):
        await self.send(*arguments, **keywords)
        return await self.receive()


async def test_a_stream_scores_as_unary_calls_do_and_encodes_its_scene_once(server, peer):
    expected = [await peer.score(a_scene(), seed=seed) for seed in range(4)]
    server.model.encoded = 0
    stream = Stream(peer)
    assert await stream.ask(a_scene(start=(15.0, 15.0))) is None
    assert server.model.encoded == 1
    await stream.ask(a_scene())
    for seed in range(4):
        np.testing.assert_array_equal(await stream.ask(seed=seed), expected[seed])
    assert server.model.encoded == 1


async def test_answers_come_in_order_when_requests_run_ahead(peer):
    expected = [await peer.score(a_scene(), seed=seed, samples=seed + 1) for seed in range(8)]
    stream = Stream(peer)
    await stream.send(a_scene(), seed=0, samples=1)
    for seed in range(1, 8):
        await stream.send(seed=seed, samples=seed + 1)
    for scores in expected:
        np.testing.assert_array_equal(await stream.receive(), scores)


async def test_a_refused_message_changes_nothing_and_the_stream_goes_on(peer):
    stream = Stream(peer)
    assert (await stream.ask(seed=0)).reason == "NO_SCENE"
    good = await stream.ask(a_scene(), seed=0)
    wrong_goal = build_scene(scene()["observation"], np.zeros((1, 1, 4, 8, 8), np.uint8), None)
    error = await stream.ask(wrong_goal, seed=0)
    assert (error.code.name, error.field) == ("INVALID_ARGUMENT", "context.goal.visual")
    moved = a_scene(start=(20.0, 20.0))
    await stream._call.write(session_messages.stream_request(moved, np.zeros((1, 1, 1, 3), np.float32)))
    assert (await stream.receive()).field == "action_candidates"
    np.testing.assert_array_equal(await stream.ask(seed=0), good)


async def test_bytes_that_are_no_message_get_an_error_in_the_stream(peer):
    call = peer.channel.stream_stream("/worldforge.jepa.v1.WorldModelService/ScoreStream")(timeout=DEADLINE)
    await call.write(b"\xff\xff\xff")
    response = jepa_pb2.ScoreStreamResponse.FromString(await call.read())
    assert response.error.reason == "MALFORMED_MESSAGE"
    await call.write(session_messages.stream_request(a_scene(), candidates(), options=RAW).SerializeToString())
    assert len(jepa_pb2.ScoreStreamResponse.FromString(await call.read()).score.scores) == 4


async def test_a_goal_or_observation_is_replaced_in_mid_stream(server, peer):
    stream = Stream(peer)
    await stream.ask(a_scene(), seed=0)
    goal = a_scene(goal=(20.0, 40.0)).goal
    await stream.send(build_scene_update(goal=goal), seed=1)
    np.testing.assert_array_equal(await stream.receive(), await peer.score(a_scene(goal=(20.0, 40.0)), seed=1))
    observation = a_scene(start=(10.0, 50.0)).observation
    await stream.send(build_scene_update(observation=observation), seed=2)
    expected = await peer.score(a_scene(start=(10.0, 50.0), goal=(20.0, 40.0)), seed=2)
    np.testing.assert_array_equal(await stream.receive(), expected)


def build_scene_update(**parts):
    from worldforge_jepa_client.calls import Scene

    return Scene(**parts)


async def test_a_draining_server_ends_idle_streams_with_a_status(server, peer):
    stream = Stream(peer)
    await stream.ask(a_scene(), seed=0)
    server.servicer.drain()
    assert await stream._call.code() is grpc.StatusCode.UNAVAILABLE


async def test_encode_gives_latents_in_the_dtype_asked_for(peer):
    observation = a_scene().observation
    exact = await latents(peer, observation, "float32")
    assert exact.visual.shape == (1, 1, 16, 32)
    assert exact.proprio.shape[:3] == (1, 1, 16)
    for dtype, tolerance in (("float16", 1e-2), ("bfloat16", 1e-1)):
        rounded = await latents(peer, observation, dtype)
        np.testing.assert_allclose(rounded.visual, exact.visual, atol=tolerance)
    request = session_messages.encode_request(observation, "", "float32")
    request.dtype = jepa_pb2.DATA_TYPE_INT32
    assert (await peer.refused(peer.stub.Encode(request, timeout=DEADLINE))).field == "dtype"


async def latents(peer, observation, dtype):
    request = session_messages.encode_request(observation, "", dtype)
    return session_messages.latents((await peer.stub.Encode(request, timeout=DEADLINE)).latents)


async def unrolled(peer, where=None, **changes):
    call = UnrollCall(where or a_scene(), candidates(5, 3), actions_are_normalized=False, **changes)
    responses = peer.stub.Unroll(session_messages.unroll_request(call), timeout=DEADLINE)
    return {response.step: session_messages.latents(response.latents) async for response in responses}


async def test_unroll_streams_every_step_or_those_chosen(server, peer):
    every = await unrolled(peer)
    assert list(every) == [1, 2, 3]
    assert every[3].visual.shape == (5, 1, 16, 32)
    server.model.steps = 0
    chosen = await unrolled(peer, steps=(2,), samples=(4, 1))
    assert list(chosen) == [2]
    np.testing.assert_allclose(chosen[2].visual, every[2].visual[[4, 1]], atol=1e-4)
    assert server.model.steps == 2  # nothing beyond the last step that was asked for


async def test_unroll_needs_no_goal_and_takes_a_context(peer):
    every = await unrolled(peer)
    observation_only = build_scene_update(observation=a_scene().observation)
    for where in (observation_only, await peer.context(a_scene())):
        np.testing.assert_array_equal((await unrolled(peer, where))[3].visual, every[3].visual)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": (0,)}, "steps"),
        ({"steps": (2, 1)}, "steps"),
        ({"steps": (4,)}, "steps"),
        ({"samples": (5,)}, "samples"),
    ],
)
async def test_unroll_refuses_what_is_not_there(peer, changes, field):
    call = UnrollCall(a_scene(), candidates(5, 3), **changes)
    responses = peer.stub.Unroll(session_messages.unroll_request(call), timeout=DEADLINE)
    assert (await peer.refused(responses.read())).field == field


async def plan(peer, **changes):
    options = PlannerOptions(horizon=2, samples=16, iterations=4, elites=4)
    call = PlanCall(**({"scene": a_scene(), "planner": options, "seed": 3} | changes))
    responses = peer.stub.Plan(session_messages.plan_request(call), timeout=DEADLINE)
    return [session_messages.plan_progress(response) async for response in responses]


@pytest.mark.parametrize("method", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("on_device", [False, True])
async def test_a_plan_streams_each_iteration_and_repeats_by_seed(peer, method, on_device):
    progress = await plan(peer, method=method, on_device=on_device)
    assert [step.iteration for step in progress] == [1, 2, 3, 4]
    best = [step.best_score for step in progress]
    assert best == sorted(best, reverse=True)
    assert progress[-1].mean.shape == progress[-1].best_actions.shape == (2, 10)
    again = await plan(peer, method=method, on_device=on_device)
    np.testing.assert_array_equal(again[-1].mean, progress[-1].mean)
    other = await plan(peer, method=method, on_device=on_device, seed=4)
    assert not np.array_equal(other[-1].mean, progress[-1].mean)


async def test_a_plan_starts_from_the_mean_it_is_given(peer):
    warm = np.full((2, 10), 0.5, np.float32)
    options = PlannerOptions(horizon=2, samples=16, iterations=1, elites=4, initial_std=0.0)
    np.testing.assert_allclose((await plan(peer, planner=options, initial_mean=warm))[0].mean, warm)


async def test_wrong_planner_options_are_named(peer):
    request = session_messages.plan_request(PlanCall(a_scene(), planner=PlannerOptions(temperature=1.0)))
    error = await peer.refused(peer.stub.Plan(request, timeout=DEADLINE).read())
    assert error.code.name == "INVALID_ARGUMENT"
    assert "temperature" in str(error)


async def idle(server):
    """Return once the server has heard that nobody waits any more."""
    async with asyncio.timeout(DEADLINE):
        while server.engine.pending:  # noqa: ASYNC110 - the engine has no event to wait for
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("end", ["cancel", "deadline"])
async def test_after_a_cancel_or_the_deadline_no_further_step_is_computed(server, peer, end):
    reached, go = threading.Event(), threading.Event()

    def hold():
        if server.model.steps >= 5:
            reached.set()
            assert go.wait(DEADLINE)

    server.model.before_step = hold
    options = PlannerOptions(horizon=4, samples=16, iterations=100, elites=4)
    request = session_messages.plan_request(PlanCall(a_scene(), planner=options))
    responses = peer.stub.Plan(request, timeout=DEADLINE if end == "cancel" else 3.0)
    assert (await responses.read()).iteration == 1
    assert await asyncio.to_thread(reached.wait, DEADLINE)
    if end == "cancel":
        responses.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.RpcError)):
        await responses.read()
    await idle(server)
    server.model.before_step = lambda: None
    go.set()
    await peer.score(a_scene())  # the device is free again, after at most the step it was in
    assert server.model.steps <= 5 + 1 + 2


async def test_a_client_that_sends_faster_than_the_model_scores_is_slowed(server, peer):
    count, go = 600, threading.Event()
    server.model.before_step = lambda: go.wait(DEADLINE)
    stream = Stream(peer)

    async def send_all():
        await stream.send(a_scene(), seed=0, samples=300, horizon=6)
        for _ in range(count - 1):
            await stream.send(seed=0, samples=300, horizon=6)  # 72 KB each, 43 MB in all

    sending = asyncio.create_task(send_all())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(sending), 2)
    assert server.engine.pending == 1  # the server reads no message before it has answered the last
    sending.cancel()
    stream.cancel()
    go.set()


async def test_what_is_dropped_without_a_word_is_gone_after_its_time():
    async with running(context_ttl=0.0) as server, Peer(server) as peer:
        for start in range(50):
            where = a_scene(start=(5.0 + start / 10, 20.0))
            await peer.context(where)
            stream = Stream(peer)
            await stream.ask(where, seed=0)
            stream.cancel()
        server.runtime.expire()
        assert server.runtime.remembered_bytes == 0
