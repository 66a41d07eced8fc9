"""Sessions on a real server: the same scores as by unary calls, whatever happens in between."""

import asyncio
import gc
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.in_process import running
from tests.scenes import raw_candidates, scene
from worldforge_jepa_client import AsyncClient, Client, ScoreResult
from worldforge_jepa_client.errors import (
    CallCancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)

DEADLINE = 60
RAW = {"actions_are_normalized": False}
LONG = {"samples": 4000, "horizon": 32}  # tens of seconds
LONG_LOG = "4000 candidates"


def candidates(samples=4, horizon=2, seed=0):
    return raw_candidates(samples, horizon, seed)["action_candidates"]


def same(result, expected):
    assert isinstance(result, ScoreResult)
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert result.metadata == expected.metadata


@pytest.fixture
def silent_target():
    """Accepts connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("model", ["", "other"])
@pytest.mark.parametrize("objective", ["l2", "cosine"])
def test_unary_context_and_stream_score_the_same_bit_by_bit(client, model, objective):
    how = RAW | {"objective": objective, "proprio_weight": 0.25}
    context = client.create_context(**scene(), model=model)
    assert context.expires_at > time.time()
    with client.session(**scene(), model=model, **how) as session:
        for seed in range(3):
            expected = client.score(**scene(), action_candidates=candidates(seed=seed), model=model, **how)
            same(client.score(context=context, action_candidates=candidates(seed=seed), **how), expected)
            same(client.score(context=context.id, action_candidates=candidates(seed=seed), **how), expected)
            same(session.score(candidates(seed=seed)), expected)
        assert session.reconnects == 0


def test_a_context_lives_until_it_is_deleted(client):
    context = client.create_context(**scene())
    client.delete_context(context)
    with pytest.raises(NotFoundError) as caught:
        client.score(context=context, action_candidates=candidates())
    assert caught.value.reason == "CONTEXT_NOT_FOUND"
    with pytest.raises(NotFoundError):
        client.delete_context(context.id)


def test_a_context_is_of_one_model(client):
    context = client.create_context(**scene(), model="other")
    assert client.score(context=context, action_candidates=candidates()).metadata["model"] == "other"
    with pytest.raises(FailedPreconditionError):
        client.score(context=context, action_candidates=candidates(), model="tiny")


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        ({"context": "id", **scene()}, "context", "one way"),
        ({"context": "id", "goal": scene()["goal"]}, "context", "one way"),
        ({"context": "id", "action_history": np.zeros((1, 10))}, "context", "one way"),
        ({"observation": scene()["observation"]}, "context.goal", "is missing"),
        ({"goal": scene()["goal"]}, "context.observation", "is missing"),
        ({}, "context.observation", "is missing"),
    ],
)
def test_a_scene_comes_in_one_way(client, arguments, field, words):
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        client.score(**arguments, action_candidates=candidates())
    assert caught.value.field == field


@pytest.mark.parametrize("method", ["score", "session", "plan"])
def test_an_unknown_keyword_is_a_type_error(client, method):
    needed = scene() | ({"action_candidates": candidates()} if method == "score" else {})
    with pytest.raises(TypeError, match="objektive"):
        getattr(client, method)(**needed, objektive="l1")


def test_answers_keep_their_order_when_requests_run_ahead(client):
    expected = [client.score(**scene(), **raw_candidates(seed=seed, samples=seed % 5 + 1)) for seed in range(80)]
    with client.session(**scene(), **RAW) as session:
        pending = [session.submit(candidates(seed=seed, samples=seed % 5 + 1)) for seed in range(80)]
        for one, wanted in zip(pending, expected, strict=True):
            same(one.result(), wanted)
            assert one.done()


def test_threads_share_a_session(client):
    expected = [client.score(**scene(), **raw_candidates(seed=seed)) for seed in range(40)]
    with client.session(**scene(), **RAW) as session, ThreadPoolExecutor(8) as pool:
        for got, wanted in zip(
            pool.map(lambda seed: session.score(candidates(seed=seed)), range(40)), expected, strict=True
        ):
            same(got, wanted)


def test_the_scene_changes_in_mid_stream(client):
    frame = scene(start=(40.0, 12.0))["observation"]
    frames = {name: np.stack([array, array]) for name, array in frame.items()}
    history = np.ones((1, 10), np.float32)
    goal = scene(goal=(20.0, 40.0))["goal"]
    with client.session(**scene(), **RAW) as session:
        session.score(candidates())
        session.set_goal(goal)
        same(
            session.score(candidates()), client.score(observation=scene()["observation"], goal=goal, **raw_candidates())
        )
        session.observe(frames, history)
        ahead = [session.submit(candidates(seed=seed)) for seed in range(3)]
        session.observe(frame)
        after = session.submit(candidates())
        for seed, pending in enumerate(ahead):
            wanted = client.score(observation=frames, goal=goal, action_history=history, **raw_candidates(seed=seed))
            same(pending.result(), wanted)
        same(after.result(), client.score(observation=frame, goal=goal, **raw_candidates()))


def test_buffers_may_be_used_again(client):
    mine, actions = scene(), candidates(samples=64, horizon=8)
    expected = client.score(**mine, action_candidates=actions, **RAW)
    with client.session(**mine, **RAW) as session:
        mine["observation"]["visual"][:] = 0
        mine["goal"]["proprio"][:] = 0
        ahead = [session.submit(actions) for _ in range(3)]
        actions[:] = 0
        ahead[0].cancel()  # the others are sent again
        for pending in ahead[1:]:
            same(pending.result(), expected)


def test_a_request_may_score_in_its_own_way(client):
    with client.session(**scene(), **RAW, objective="l1") as session:
        first = session.score(candidates())
        same(
            session.score(candidates(), objective="cosine"),
            client.score(**scene(), **raw_candidates(), objective="cosine"),
        )
        normalized = client.score(**scene(), action_candidates=candidates(), objective="l1")
        same(session.score(candidates(), actions_are_normalized=True), normalized)
        same(session.score(candidates()), first)


def test_what_does_not_fit_is_refused_before_it_is_sent_and_changes_nothing(client):
    with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
        client.session(observation=scene()["observation"], goal=np.zeros((4, 8, 8), np.uint8))
    with client.session(**scene(), **RAW) as session:
        good = session.score(candidates())
        with pytest.raises(InvalidArgumentError, match="action_candidates"):
            session.score(candidates()[..., :9])
        with pytest.raises(InvalidArgumentError, match=r"context\.action_history"):
            session.observe(scene()["observation"], np.zeros((1, 10)))
        with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
            session.set_goal(np.zeros((1, 1, 4, 8, 8), np.uint8))
        with pytest.raises(TypeError, match="objektive"):
            session.score(candidates(), objektive="l1")
        same(session.score(candidates()), good)
        assert session.reconnects == 0


def test_what_the_server_refuses_leaves_the_session_alive(client, server):
    limit = client.model().limits
    with Client(server.target, timeout=DEADLINE) as trusting, trusting.session(**scene(), **RAW) as session:
        good = session.score(candidates())
        spec = trusting._specs[""]
        object.__setattr__(spec, "limits", type(limit)(10**6, 10**6, 10**6))
        object.__setattr__(spec.visual, "shape", (1, -1, -1, -1, -1))
        with pytest.raises(Exception, match="the limit is") as caught:
            session.score(candidates(samples=1, horizon=limit.max_horizon + 1))
        assert caught.value.field == "action_candidates"
        session.set_goal({"visual": np.zeros((4, 8, 8), np.uint8), "proprio": scene()["goal"]["proprio"]})
        with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
            session.score(candidates())
        session.set_goal(scene()["goal"])
        same(session.score(candidates()), good)
        assert session.reconnects == 0


def test_a_session_survives_a_restart_of_the_server(start_server):
    first = start_server()
    with Client(first.target, timeout=DEADLINE) as client, client.session(**scene(), **RAW) as session:
        before = session.score(candidates())
        session.set_goal(scene(goal=(20.0, 40.0))["goal"])
        moved = session.score(candidates())
        first.kill()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=first.target):
            session.score(candidates())
        assert time.monotonic() - began < 5
        assert session.reconnects == 0
        second = start_server("--log-level", "debug", listen=first.target)
        client.wait_ready(DEADLINE)
        same(session.score(candidates()), moved)
        assert session.reconnects == 1
        session.set_goal(scene()["goal"])
        same(session.score(candidates()), before)
        assert session.reconnects == 1
        doomed = session.submit(candidates(**LONG))
        second.wait_logged(LONG_LOG)
        second.kill()
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=first.target):
            doomed.result()
        assert time.monotonic() - began < 5


def test_without_a_server_a_session_is_an_error_at_once():
    with Client("127.0.0.1:1", timeout=DEADLINE) as client, pytest.raises(UnavailableError):
        client.session(**scene())


def test_a_request_out_of_time_frees_the_device_and_the_session_goes_on(start_server):
    server = start_server()
    with Client(server.target, timeout=DEADLINE) as client, client.session(**scene(), **RAW) as session:
        good = session.score(candidates())
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            session.score(candidates(**LONG), timeout=1.0)
        assert 1.0 <= time.monotonic() - began < 5
        same(session.score(candidates()), good)
        slow = session.submit(candidates(**LONG))
        behind = session.submit(candidates())
        slow.cancel()
        with pytest.raises(CallCancelledError):
            slow.result()
        same(behind.result(), good)
        assert time.monotonic() - began < 30


def test_a_server_that_never_answers_is_waited_for_no_longer_than_told(silent_target, client):
    with Client(silent_target, timeout=0.3) as deaf:
        deaf._specs[""] = client.model()
        with deaf.session(**scene()) as session:
            for _ in range(2):
                began = time.monotonic()
                with pytest.raises(DeadlineExceededError):
                    session.score(candidates())
                assert time.monotonic() - began < 5


def test_a_closed_session_says_so(client):
    session = client.session(**scene(), **RAW)
    session.score(candidates())
    session.close()
    session.close()
    with pytest.raises(CallCancelledError) as caught:
        session.score(candidates())
    assert caught.value.reason == "SESSION_CLOSED"


def test_sessions_that_are_dropped_leave_no_threads(client):
    def alive():
        gc.collect()
        return sum(thread.name == "session" for thread in threading.enumerate())

    for _ in range(20):
        client.session(**scene(), **RAW).score(candidates())
    deadline = time.monotonic() + DEADLINE
    while alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_the_async_session_is_the_same_session(server, client):
    expected = [client.score(**scene(), **raw_candidates(seed=seed)) for seed in range(50)]
    async with AsyncClient(server.target, timeout=DEADLINE) as other:
        context = await other.create_context(**scene())
        same(await other.score(context=context, **raw_candidates()), expected[0])
        await other.delete_context(context)
        async with other.session(**scene(), **RAW) as session:
            same(await session.score(candidates()), expected[0])
            with pytest.raises(InvalidArgumentError, match="action_candidates"):
                await session.score(candidates()[..., :9])
            ahead = [await session.submit(candidates(seed=seed)) for seed in range(50)]
            for pending, wanted in zip(ahead, expected, strict=True):
                same(await pending, wanted)
            goal, frame = scene(goal=(20.0, 40.0))["goal"], scene(start=(40.0, 12.0))["observation"]
            await session.set_goal(goal)
            await session.observe(frame)
            same(await session.score(candidates()), client.score(observation=frame, goal=goal, **raw_candidates()))
            assert session.reconnects == 0
        with pytest.raises(CallCancelledError):
            await session.score(candidates())


async def test_a_hundred_sessions_at_once_each_get_their_own_scores():
    def own(seed):
        return scene(start=(10.0 + seed / 10, 20.0))

    async with running() as server, AsyncClient(server.target, timeout=DEADLINE) as client:
        expected = [await client.score(**own(seed), **raw_candidates(seed=seed)) for seed in range(100)]
        encoded = server.model.encoded

        async def work(seed):
            async with client.session(**own(seed), **RAW) as session:
                return [await session.score(candidates(seed=seed)) for _ in range(3)]

        for results, wanted in zip(await asyncio.gather(*map(work, range(100))), expected, strict=True):
            for result in results:
                same(result, wanted)
        assert server.model.encoded == encoded  # the content was known


async def test_the_async_session_checks_its_scene_on_entering(server):
    async with AsyncClient(server.target, timeout=DEADLINE) as client:
        with pytest.raises(InvalidArgumentError, match=r"context\.goal\.visual"):
            async with client.session(observation=scene()["observation"], goal=np.zeros((4, 8, 8), np.uint8)):
                pass


@pytest.mark.parametrize("end", ["deadline", "cancel"])
async def test_an_async_request_given_up_computes_nothing_further(end):
    async with running() as server, AsyncClient(server.target, timeout=DEADLINE) as client:
        reached, go = threading.Event(), threading.Event()
        async with client.session(**scene(), **RAW) as session:
            good = await session.score(candidates())
            server.model.steps = 0

            def hold():
                if server.model.steps == 2:
                    reached.set()
                    assert go.wait(DEADLINE)

            server.model.before_step = hold
            doomed = await session.submit(candidates(horizon=30), timeout=DEADLINE if end == "cancel" else 0.5)
            assert await asyncio.to_thread(reached.wait, DEADLINE)
            if end == "cancel":
                doomed.cancel()
            with pytest.raises(asyncio.CancelledError if end == "cancel" else DeadlineExceededError):
                await doomed
            again = await session.submit(candidates())
            await asyncio.sleep(0.1)  # the server hears of it
            server.model.before_step = lambda: None
            go.set()
            same(await again, good)
            assert server.model.steps <= 2 + 1 + 2
            assert session.reconnects == 1


async def test_an_async_session_survives_a_restart_of_the_server(start_server):
    first = await asyncio.to_thread(start_server)
    async with AsyncClient(first.target, timeout=DEADLINE) as client, client.session(**scene(), **RAW) as session:
        before = await session.score(candidates())
        first.kill()
        with pytest.raises(UnavailableError, match=first.target):
            await session.score(candidates())
        await asyncio.to_thread(start_server, listen=first.target)
        await client.wait_ready(DEADLINE)
        same(await session.score(candidates()), before)
        assert session.reconnects == 1
