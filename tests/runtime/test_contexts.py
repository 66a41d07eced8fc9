"""Contexts on the server: encoded once, scored as the scene sent whole, gone in time."""

import numpy as np

from tests.support.in_process import DEADLINE, running
from tests.support.raw_stub import RawStub, Stream, a_scene, score_request
from tests.support.scenes import scene
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.v1 import jepa_pb2


async def test_a_context_scores_as_the_scene_sent_whole_and_is_encoded_once(server, raw_stub):
    whole = await raw_stub.score(a_scene())
    before = server.model.encoded
    context_id = await raw_stub.context(a_scene())
    for _ in range(3):
        np.testing.assert_array_equal(await raw_stub.score(context_id), whole)
    assert server.model.encoded == before == 2


async def test_equal_frames_are_encoded_once(server, raw_stub):
    await raw_stub.score(a_scene())
    await raw_stub.score(a_scene())
    assert server.model.encoded == 2
    await raw_stub.score(a_scene(start=(14.0, 30.0)))  # a new observation, the same goal
    assert server.model.encoded == 3
    await raw_stub.score(a_scene(start=(14.0, 30.0), goal=(20.0, 30.0)))
    assert server.model.encoded == 4


async def test_models_do_not_share_latents(server, raw_stub):
    await raw_stub.score(a_scene())
    request = score_request(a_scene())
    request.model = "other"
    await raw_stub.stub.Score(request, timeout=DEADLINE)
    assert (server.models["tiny"].encoded, server.models["other"].encoded) == (2, 2)


async def test_ids_are_long_and_differ(raw_stub):
    ids = {await raw_stub.context(a_scene()) for _ in range(20)}
    assert len(ids) == 20
    assert min(map(len, ids)) >= 20


async def test_unknown_and_deleted_contexts_are_not_found(raw_stub):
    context_id = await raw_stub.context(a_scene())
    await raw_stub.stub.DeleteContext(jepa_pb2.DeleteContextRequest(context_id=context_id), timeout=DEADLINE)
    for call in (
        raw_stub.stub.Score(score_request(context_id), timeout=DEADLINE),
        raw_stub.stub.Score(score_request("nonsense"), timeout=DEADLINE),
        raw_stub.stub.DeleteContext(jepa_pb2.DeleteContextRequest(context_id=context_id), timeout=DEADLINE),
    ):
        error = await raw_stub.refused(call)
        assert (error.code.name, error.reason, error.field) == ("NOT_FOUND", "CONTEXT_NOT_FOUND", "context_id")


async def test_a_context_of_another_model_is_refused(raw_stub):
    request = score_request(await raw_stub.context(a_scene(), "other"))
    assert (await raw_stub.stub.Score(request, timeout=DEADLINE)).metadata["model"] == "other"
    request.model = "tiny"
    error = await raw_stub.refused(raw_stub.stub.Score(request, timeout=DEADLINE))
    assert (error.code.name, error.reason) == ("FAILED_PRECONDITION", "CONTEXT_OF_OTHER_MODEL")


async def test_a_context_without_goal_proprio_requires_proprio_weight_zero(raw_stub):
    arrays = scene()
    where = build_scene(arrays["observation"], arrays["goal"]["visual"], None)
    request = score_request(await raw_stub.context(where))
    error = await raw_stub.refused(raw_stub.stub.Score(request, timeout=DEADLINE))
    assert (error.reason, error.field) == ("MISSING_FIELD", "context.goal.proprio")
    request.options.proprio_weight = 0
    assert len((await raw_stub.stub.Score(request, timeout=DEADLINE)).scores) == 4


async def test_contexts_make_room_for_newer_ones_and_expire():
    async with running(cache_mib=0, context_ttl=1000.0) as server, RawStub(server) as raw_stub:
        first, second = await raw_stub.context(a_scene()), await raw_stub.context(a_scene())
        assert (
            await raw_stub.refused(raw_stub.stub.Score(score_request(first), timeout=DEADLINE))
        ).reason == "CONTEXT_NOT_FOUND"
        assert len(await raw_stub.score(second)) == 4
    async with running(context_ttl=1e-6) as server, RawStub(server) as raw_stub:
        gone = await raw_stub.context(a_scene())
        server.runtime.expire()
        assert (
            await raw_stub.refused(raw_stub.stub.Score(score_request(gone), timeout=DEADLINE))
        ).reason == "CONTEXT_NOT_FOUND"


async def test_abandoned_contexts_and_streams_expire():
    async with running(context_ttl=1e-6) as server, RawStub(server) as raw_stub:
        for start in range(50):
            where = a_scene(start=(5.0 + start / 10, 20.0))
            await raw_stub.context(where)
            stream = Stream(raw_stub)
            await stream.ask(where, seed=0)
            stream.cancel()
        server.runtime.expire()
        assert server.runtime.remembered_bytes == 0
