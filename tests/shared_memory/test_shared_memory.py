"""Tensors in shared memory: the same scores, and one request to a segment."""

import asyncio
import errno
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.inputs.test_tensors import NAMES
from tests.shared_memory.segments import held, received, request, wait_until
from tests.support.results import assert_same
from tests.support.scenes import RAW, candidates, raw_candidates, scene
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError
from worldforge_jepa_client.shm import segments as shm_segments
from worldforge_jepa_client.shm.segments import Segments

DEADLINE = 60
MOVED = {"goal": scene(goal=(20.0, 40.0))["goal"]}


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(shm_segments, "SMALLEST", 1)


@pytest.fixture
def inline(sharing_server):
    with Client(sharing_server.target, timeout=DEADLINE) as client:
        yield client


# The same as inline


@given(hnp.arrays(st.sampled_from(NAMES), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)))
def test_any_array_comes_out_of_shared_memory_bit_by_bit(array):
    message, segments = request(array), Segments()
    with segments.sharing(message):
        assert not message.action_candidates.data
        result = received(message)
    assert (result.dtype, result.shape, result.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_every_call_gives_what_it_gives_inline(sharing, inline):
    expected = inline.score(**scene(), **raw_candidates())
    assert_same(sharing.score(**scene(), **raw_candidates()), expected)
    assert len(held()) == 1
    context = sharing.create_context(**scene())
    assert_same(sharing.score(context=context, **raw_candidates()), expected)
    latents = [client.encode(observation=scene()["observation"]) for client in (sharing, inline)]
    np.testing.assert_array_equal(latents[0].visual, latents[1].visual)
    step, predicted = next(sharing.unroll(context=context, **raw_candidates()))
    assert (step, len(predicted.visual)) == (1, 4)
    plans = [client.plan(**scene(), samples=16, iterations=1, horizon=2).result() for client in (sharing, inline)]
    np.testing.assert_array_equal(plans[0].actions, plans[1].actions)
    assert len(held()) == 1


def test_a_session_gives_what_unary_calls_give(sharing, inline):
    with sharing.session(**scene(), **RAW) as session:
        ahead = [session.submit(candidates(seed=seed)) for seed in range(40)]
        session.set_goal(**MOVED)
        moved = session.submit(candidates())
        for seed, pending in enumerate(ahead):
            assert_same(pending.result(), inline.score(**scene(), **raw_candidates(seed=seed)))
        assert_same(moved.result(), inline.score(**{**scene(), **MOVED}, **raw_candidates()))
        assert held()


async def test_asyncio_gives_the_same(sharing_server, inline):
    expected = inline.score(**scene(), **raw_candidates())
    async with AsyncClient(sharing_server.target, timeout=DEADLINE, shared_memory=True) as client:
        assert_same(await client.score(**scene(), **raw_candidates()), expected)
        async with client.session(**scene(), **RAW) as session:
            for result in await asyncio.gather(*(session.score(candidates()) for _ in range(40))):
                assert_same(result, expected)
        assert held()
    wait_until(lambda: not held())


def test_threads_share_a_client(sharing, inline):
    expected = [inline.score(**scene(), **raw_candidates(seed=seed)) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda seed: sharing.score(**scene(), **raw_candidates(seed=seed)), range(40))
        for result, wanted in zip(results, expected, strict=True):
            assert_same(result, wanted)


def test_small_tensors_are_sent_inline(sharing, monkeypatch):
    monkeypatch.setattr(shm_segments, "SMALLEST", 2**20)
    sharing.score(**scene(), **raw_candidates())
    assert not held()


def no_room(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("function", ["open", "posix_fallocate"])
def test_tensors_are_sent_inline_when_shared_memory_is_full(monkeypatch, tmp_path, function):
    message, segments = request(candidates()), Segments()
    monkeypatch.setattr(shm_segments, "FOLDER", tmp_path)
    with monkeypatch.context() as full:
        full.setattr(os, function, no_room)
        assert segments.share(message) is None
    assert message == request(candidates())
    assert list(tmp_path.iterdir()) == []


def test_shared_memory_is_refused_outside_linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(InvalidArgumentError, match="Linux") as caught:
        Client(shared_memory=True)
    assert (caught.value.field, caught.value.reason) == ("shared_memory", "SHARED_MEMORY_UNSUPPORTED")


# One request to a segment


def test_requests_without_an_answer_share_no_segment():
    segments, messages = Segments(), [request(candidates(seed=seed)) for seed in range(20)]
    used = [segments.share(message) for message in messages]
    assert len({segment.name for segment in used}) == 20
    for seed, message in enumerate(messages):
        np.testing.assert_array_equal(received(message), candidates(seed=seed))


def test_a_segment_is_used_again_once_its_request_is_answered_where_it_is_large_enough():
    segments, names = Segments(), []
    for samples in (4, 2, 99, 98):
        with segments.sharing(message := request(candidates(samples))):
            names += held()
            np.testing.assert_array_equal(received(message), candidates(samples))
    small, again, large, at_last = names
    assert small == again != large == at_last


def test_few_segments_are_kept():
    segments = Segments()
    used = [segments.share(request(candidates())) for _ in range(20)]
    while used:
        segments.answered(used.pop())
    assert len(held()) == 4


def test_the_segment_of_a_call_without_an_answer_is_removed(silent_target, inline):
    with Client(silent_target, timeout=0.3, shared_memory=True) as deaf:
        deaf._specs[""] = inline.model()
        with pytest.raises(DeadlineExceededError):
            deaf.score(**scene(), **raw_candidates())
        assert not held()
        with deaf.session(**scene(), **RAW) as session:
            with pytest.raises(DeadlineExceededError):
                session.score(candidates())
            wait_until(lambda: not held())


async def test_the_segment_of_a_cancelled_call_is_removed(silent_target, inline):
    async with AsyncClient(silent_target, timeout=DEADLINE, shared_memory=True) as deaf:
        deaf._specs[""] = inline.model()
        async with deaf.session(**scene(), **RAW) as session:
            for call in (lambda: deaf.score(**scene(), **raw_candidates()), lambda: session.score(candidates())):
                task = asyncio.create_task(call())
                await asyncio.to_thread(wait_until, held)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.to_thread(wait_until, lambda: not held())


def test_the_segment_of_a_refused_call_is_removed(sharing):
    with pytest.raises(NotFoundError):
        sharing.score(context="of nobody", **raw_candidates())
    assert not held()
