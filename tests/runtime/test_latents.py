"""Latents from the server: of frames, and of every step that candidates lead to."""

import numpy as np
import pytest

from tests.in_process import DEADLINE
from tests.raw_stub import a_scene
from tests.scenes import candidates
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Scene, UnrollCall
from worldforge_jepa_client.v1 import jepa_pb2


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
    ],
)
async def test_unroll_names_the_field_at_fault(raw_stub, changes, field):
    call = UnrollCall(a_scene(), candidates(5, 3), **changes)
    responses = raw_stub.stub.Unroll(wire.unroll_request(call), timeout=DEADLINE)
    assert (await raw_stub.refused(responses.read())).field == field
