"""Encode and Unroll."""

from __future__ import annotations

import numpy as np

from worldforge_jepa_client import wire
from worldforge_jepa_client.tools.conformance.promises import Promises
from worldforge_jepa_client.tools.conformance.under_test import (
    NotApplicableError,
    ServerUnderTest,
    expect,
)
from worldforge_jepa_client.v1 import jepa_pb2

PROMISES = Promises()


@PROMISES("(samples, frames, tokens, dim)")
async def latents_shape(server: ServerUnderTest) -> None:
    """Encode returns finite latents, one for each frame."""
    server.needs_latents()
    observation = server.scene().observation
    assert observation is not None
    request = wire.encode_request(observation, server.spec.name, "float32")
    visual = wire.latent_frames((await server.call("Encode", request)).latents).visual
    frames = observation.visual.shape[1]
    expect(visual.shape[:2] == (1, frames), f"latents have shape {visual.shape}; expected (1, {frames}, ...)")
    expect(np.isfinite(visual).all(), "the latents hold NaN or infinite values")


@PROMISES("FLOAT32, FLOAT16 or BFLOAT16. Unspecified: FLOAT32.")
async def latents_dtype(server: ServerUnderTest) -> None:
    """Latents come in the dtype asked for; others are refused."""
    server.needs_latents()
    observation = server.scene().observation
    assert observation is not None
    request = wire.encode_request(observation, server.spec.name, "float16")
    for asked, came in ((0, 6), (5, 5), (6, 6), (8, 8)):
        request.dtype = asked  # type: ignore[assignment]
        got = (await server.call("Encode", request)).latents.visual.dtype
        expect(got == came, f"latents of dtype {asked} come as {got}; expected {came}")
    request.dtype = jepa_pb2.DATA_TYPE_INT64
    await server.refused("Encode", request, "INVALID_ARGUMENT", "INVALID_DTYPE", "dtype")


@PROMISES("FAILED_PRECONDITION where the model scores by itself; so is Unroll.")
async def latents_of_own_scores(server: ServerUnderTest) -> None:
    """A model with a scoring method of its own gives no latents."""
    if not server.spec.reads_extra_info:
        raise NotApplicableError("the model has latents")
    observation = server.scene().observation
    assert observation is not None
    request = wire.encode_request(observation, server.spec.name, "float32")
    await server.refused("Encode", request, "FAILED_PRECONDITION", "NO_LATENTS", "model")


@PROMISES("Streams the predicted latents, one message per predicted step, in order, once all steps are predicted.")
async def unroll_steps(server: ServerUnderTest) -> None:
    """Unroll answers once for each step, with one frame of every candidate."""
    responses = await server.call("Unroll", server.unroll_request())
    steps = [response.step for response in responses]
    expect(steps == list(range(1, server.horizon + 1)), f"the steps are {steps}; expected 1 to {server.horizon}")
    shapes = {tuple(response.latents.visual.shape[:2]) for response in responses}
    expect(shapes == {(server.samples, 1)}, f"latents begin with {shapes}; expected ({server.samples}, 1)")


@PROMISES("The steps to return, from 1 (after the first action) to H, in rising order. Empty: all.")
async def unroll_chosen_steps(server: ServerUnderTest) -> None:
    """Of all steps only those asked for come, and none beyond the horizon is accepted."""
    responses = await server.call("Unroll", server.unroll_request(steps=(server.horizon,)))
    steps = [response.step for response in responses]
    expect(steps == [server.horizon], f"the steps are {steps}; expected {server.horizon} alone")
    request = server.unroll_request(steps=(server.horizon + 1,))
    await server.refused("Unroll", request, "INVALID_ARGUMENT", "INVALID_VALUE", "steps")


@PROMISES("The candidates to unroll, from 0 to S - 1, each once. Empty: all.")
async def unroll_chosen_samples(server: ServerUnderTest) -> None:
    """The last candidate alone has the latents that it has among all."""
    last, every = server.unroll_request(samples=(server.samples - 1,)), server.unroll_request()
    got, expected = [
        wire.latent_frames((await server.call("Unroll", request))[-1].latents).visual for request in (last, every)
    ]
    expect(got.shape[0] == 1, f"{got.shape[0]} candidates were unrolled; expected 1")
    expect(np.allclose(got[0], expected[-1], rtol=1e-3, atol=1e-3), "the last candidate alone has other latents")


@PROMISES("their headers come when the server accepts the call, before the first message of either side.")
async def unroll_early_headers(server: ServerUnderTest) -> None:
    """Unroll's headers come while the model is at work."""
    candidates = server.candidates(1, server.spec.limits.max_horizon)
    await server.early_headers("Unroll", server.unroll_request(action_candidates=candidates))
