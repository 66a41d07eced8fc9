"""Latents from the server: of frames, and of every step that candidates lead to."""

import asyncio

import grpc
import numpy as np
import pytest

from tests.support.in_process import DEADLINE, CountingModel, Stop, running, waiting
from tests.support.raw_stub import RawStub, a_scene
from tests.support.scenes import candidates
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Scene, UnrollCall
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc
from worldforge_jepa_server.scheduling.engine import LEAST_COST


async def latents(raw_stub, observation, dtype):
    request = wire.encode_request(observation, "", dtype)
    return wire.latent_frames((await raw_stub.stub.Encode(request, timeout=DEADLINE)).latents)


async def unrolled(raw_stub, where=None, **changes):
    call = UnrollCall(where or a_scene(), candidates(5, 3), actions_are_normalized=False, **changes)
    responses = raw_stub.stub.Unroll(wire.unroll_request(call), timeout=DEADLINE)
    return {response.step: wire.latent_frames(response.latents) async for response in responses}


async def test_encode_gives_latents_in_the_dtype_asked_for(raw_stub):
    observation = a_scene().observation
    exact = await latents(raw_stub, observation, "float32")
    assert exact.visual.shape == (1, 1, 16, 32)
    assert exact.proprio.shape[:3] == (1, 1, 16)
    for dtype, tolerance in (("float16", 1e-2), ("bfloat16", 1e-1)):
        rounded = await latents(raw_stub, observation, dtype)
        np.testing.assert_allclose(rounded.visual, exact.visual, atol=tolerance)
    request = wire.encode_request(observation, "", "float32")
    request.dtype = jepa_pb2.DATA_TYPE_INT32
    assert (await raw_stub.refused(raw_stub.stub.Encode(request, timeout=DEADLINE))).field == "dtype"


async def test_unroll_streams_every_step_or_the_selected_ones(server, raw_stub):
    every = await unrolled(raw_stub)
    assert list(every) == [1, 2, 3]
    assert every[3].visual.shape == (5, 1, 16, 32)
    server.model.steps = 0
    chosen = await unrolled(raw_stub, steps=(2,), samples=(4, 1))
    assert list(chosen) == [2]
    np.testing.assert_allclose(chosen[2].visual, every[2].visual[[4, 1]], atol=1e-4)
    assert server.model.steps == 2  # nothing beyond the last step that was asked for


async def test_unroll_needs_no_goal_and_takes_a_context(raw_stub):
    every = await unrolled(raw_stub)
    observation_only = Scene(observation=a_scene().observation)
    for where in (observation_only, await raw_stub.context(a_scene())):
        np.testing.assert_array_equal((await unrolled(raw_stub, where))[3].visual, every[3].visual)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": (0,)}, "steps"),
        ({"steps": (2, 1)}, "steps"),
        ({"steps": (4,)}, "steps"),
        ({"samples": (5,)}, "samples"),
        ({"samples": (1, 2, 1)}, "samples"),
    ],
)
async def test_unroll_names_the_field_at_fault(raw_stub, changes, field):
    call = UnrollCall(a_scene(), candidates(5, 3), **changes)
    responses = raw_stub.stub.Unroll(wire.unroll_request(call), timeout=DEADLINE)
    assert (await raw_stub.refused(responses.read())).field == field


async def test_a_selection_is_not_printed_whole(raw_stub):
    call = UnrollCall(a_scene(), candidates(1000, 1), samples=(0,) * 1000)
    error = await raw_stub.refused(raw_stub.stub.Unroll(wire.unroll_request(call), timeout=DEADLINE).read())
    assert "has 0 at index 1" in str(error)
    assert len(str(error)) < 200


class OpenUnrolls(CountingModel):
    """Counts the unrolls that are under way, whose windows a model keeps; `most` at a time."""

    under_way = most = 0

    def unroll(self, *arguments):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            yield from super().unroll(*arguments)
        finally:
            self.under_way -= 1


async def test_one_chunk_is_unrolled_at_a_time_whatever_the_calls(raw_stub):
    model = OpenUnrolls()
    async with running(models={"tiny": model}, chunk_size=2) as server, RawStub(server) as chunked:
        for got in await asyncio.gather(*[unrolled(chunked) for _ in range(3)]):
            for step, latents in (await unrolled(raw_stub)).items():
                np.testing.assert_allclose(got[step].visual, latents.visual, atol=1e-4)
                np.testing.assert_allclose(got[step].proprio, latents.proprio, atol=1e-4)
        assert model.most == 1


FRAME = 16 * 32 * 4  # bytes of a candidate's visual latents at a step; proprio comes on top


async def test_more_latents_than_the_memory_budget_are_refused_with_the_most_that_fits():
    async with running(memory_budget=20 * FRAME) as server, RawStub(server) as raw_stub:
        call = UnrollCall(a_scene(), candidates(10, 4))
        error = await raw_stub.refused(raw_stub.stub.Unroll(wire.unroll_request(call), timeout=DEADLINE).read())
        assert (error.code.name, error.field) == ("OUT_OF_RANGE", "samples")
        most = int(str(error).rpartition("at most ")[2].split()[0])
        assert 1 <= most < 5
        assert server.model.steps == 0
        every = UnrollCall(a_scene(), candidates(10, 4), samples=tuple(range(most)))
        assert [response.step async for response in raw_stub.stub.Unroll(wire.unroll_request(every))] == [1, 2, 3, 4]


async def test_latents_that_are_not_read_are_bounded_and_leave_the_queue_to_others():
    settings = {"queue_size": LEAST_COST, "memory_budget": 600 * FRAME}
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
    async with running(**settings) as server, RawStub(server) as raw_stub:
        async with grpc.aio.insecure_channel(server.target, narrow) as channel:
            request = wire.unroll_request(UnrollCall(a_scene(), candidates(60, 8)))
            unread = jepa_pb2_grpc.WorldModelServiceStub(channel).Unroll(request, timeout=DEADLINE)
            assert (await unread.read()).step == 1
            assert len(await raw_stub.score(a_scene())) == 4
            error = await raw_stub.refused(raw_stub.stub.Unroll(request, timeout=DEADLINE).read())
            assert error.code.name == "RESOURCE_EXHAUSTED"
            assert error.retry_after
            assert [(await unread.read()).step for _ in range(7)] == list(range(2, 9))
        assert (await raw_stub.stub.Unroll(request, timeout=DEADLINE).read()).step == 1


async def test_a_cancel_is_noticed_within_a_step():
    async with running(chunk_size=1) as server, RawStub(server) as raw_stub:
        stop = Stop(server.model, after=1)
        request = wire.unroll_request(UnrollCall(a_scene(), candidates(8, 4)))
        responses = raw_stub.stub.Unroll(request, timeout=DEADLINE)
        await stop.reached()
        responses.cancel()
        await waiting(server, 0)  # the server has heard of it
        stop.go_on()
        await raw_stub.score(a_scene(), samples=1)
        assert server.model.steps <= 1 + 1 + 2
