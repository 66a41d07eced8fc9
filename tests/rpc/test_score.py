"""Scores through the wire: the same as in process, and a clear status for everything that is no score."""

import threading

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client import AsyncClient, Client, wire
from worldforge_jepa_client.errors import JepaError, NotFoundError
from worldforge_jepa_client.inputs.build import build_scene, build_score_call
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc
from worldforge_jepa_client.wire.status import from_rpc_error
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.local import LocalClient

DEADLINE = 30


def request(**changes):
    """A good ScoreRequest, changed in places."""
    return wire.score_request(as_call(scene() | raw_candidates() | changes))


def as_call(keywords):
    """The call that `client.score(**keywords)` makes."""
    whole = build_scene(keywords["observation"], keywords["goal"])
    rest = {name: value for name, value in keywords.items() if name not in ("observation", "goal", "action_candidates")}
    return build_score_call(whole, keywords["action_candidates"], **rest)


@pytest.fixture(scope="module")
def local():
    with LocalClient("tiny", config=ServerConfig(threads=1)) as local:
        yield local


@pytest.fixture(scope="module")
def stub(server):
    with grpc.insecure_channel(server.target) as channel:
        yield jepa_pb2_grpc.WorldModelServiceStub(channel)


def refused(stub, request):
    """The error with which the server answers."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Score(request, timeout=DEADLINE)
    return from_rpc_error(caught.value, "server")


@pytest.mark.parametrize("chunk_size", [1, 3, 64])
def test_scores_do_not_depend_on_chunks(local, chunk_size):
    keywords = scene() | raw_candidates(10)
    whole = local.score(**keywords).scores
    with LocalClient("tiny", config=ServerConfig(chunk_size=chunk_size)) as chunked:
        np.testing.assert_allclose(chunked.score(**keywords).scores, whole, rtol=1e-4)


@pytest.mark.parametrize("objective", ["l2", "l1", "cosine"])
@pytest.mark.parametrize("samples", [1, 7, 64])
def test_scores_through_the_wire_equal_those_in_process_bit_by_bit(client, local, objective, samples):
    keywords = scene() | raw_candidates(samples) | {"objective": objective, "proprio_weight": 0.25}
    remote, here = client.score(**keywords), local.score(**keywords)
    np.testing.assert_array_equal(remote.scores, here.scores)
    assert remote.scores.dtype == np.float32
    assert remote.scores.shape == (samples,)
    assert remote.best_index == int(np.argmin(here.scores))
    assert remote.lower_is_better is True


def test_a_result_says_what_was_computed_and_where_the_time_went(client):
    result = client.score(**scene(), **raw_candidates(), objective="l1", proprio_weight=0.5)
    provenance = client.model().provenance
    assert {"source", "weights_digest", "model_class", "torch"} <= provenance.keys()
    assert result.metadata == {
        "score_units": "latent_cost",
        "model": "tiny",
        "objective": "l1",
        "proprio_weight": 0.5,
        "actions_are_normalized": False,
        "device": "cpu",
        **provenance,
    }
    timing = result.timing
    parts = (timing.queue_us, timing.decode_us, timing.encode_us, timing.unroll_us, timing.distance_us)
    assert all(part >= 0 for part in parts)
    assert 0 < sum(parts) <= timing.total_us


def test_defaults_are_the_models_own(client):
    spec = client.model()
    default = client.score(**scene(), **raw_candidates())
    spelled_out = client.score(
        **scene(), **raw_candidates(), objective=spec.objective, proprio_weight=spec.proprio_weight, model=spec.name
    )
    np.testing.assert_array_equal(default.scores, spelled_out.scores)


def test_raw_actions_are_normalized_with_the_published_statistics(client):
    raw = candidates()
    normalization = client.model().normalization
    mean, std = (np.tile(item, 5) for item in (normalization.action_mean, normalization.action_std))
    normalized = ((raw - mean) / std).astype(np.float32)
    np.testing.assert_allclose(
        client.score(**scene(), action_candidates=raw, actions_are_normalized=False).scores,
        client.score(**scene(), action_candidates=normalized).scores,
        rtol=1e-4,
    )


def test_several_frames_with_their_history_score(client):
    frames = {
        "visual": np.concatenate([scene()["observation"]["visual"][None]] * 3),
        "proprio": np.concatenate([scene()["observation"]["proprio"][None]] * 3),
    }
    result = client.score(
        observation=frames, goal=scene()["goal"], action_history=np.zeros((2, 10)), **raw_candidates()
    )
    assert np.isfinite(result.scores).all()


def test_models_are_listed_and_asked_for_by_name(client):
    assert [model.name for model in client.models()] == ["tiny", "other"]
    assert client.model("other").name == "other"
    assert client.model().name == "tiny"
    assert client.score(**scene(), **raw_candidates(), model="other").metadata["model"] == "other"
    with pytest.raises(NotFoundError, match="served: tiny, other") as caught:
        client.model("third")
    assert (caught.value.reason, caught.value.field) == ("MODEL_NOT_FOUND", "model")


def test_the_published_contract_is_complete(client):
    spec = client.model()
    assert (spec.raw_action_dim, spec.frameskip, spec.action_dim, spec.proprio_dim) == (2, 5, 10, 2)
    assert spec.context_window == 2
    assert spec.parameter_count > 0
    assert len(spec.checkpoint_digest.removeprefix("sha256:")) == 64
    assert spec.limits.max_message_bytes == ServerConfig().max_message_bytes
    assert min(spec.limits.max_samples, spec.limits.max_horizon, spec.limits.max_context_frames) > 0


async def test_the_async_client_is_the_same_client(server, client):
    async with AsyncClient(server.target, timeout=DEADLINE) as other:
        await other.wait_ready()
        assert await other.models() == client.models()
        assert await other.model("other") == client.model("other")
        mine, theirs = await other.score(**scene(), **raw_candidates()), client.score(**scene(), **raw_candidates())
        np.testing.assert_array_equal(mine.scores, theirs.scores)
        with pytest.raises(NotFoundError):
            await other.score(**scene(), **raw_candidates(), model="third")


def test_a_message_beyond_the_published_limit_is_told_from_an_overload(stub, client):
    limit = client.model().limits.max_message_bytes
    error = refused(stub, request(goal={"visual": np.zeros((3, 1, limit), np.uint8), "proprio": [1.0, 1.0]}))
    assert (error.code.name, error.reason) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_bytes_make_the_server_fail_otherwise(server, data):
    """Cut, flipped and arbitrary bytes on the wire get a status below INTERNAL, or scores."""
    good = request().SerializeToString()
    if data.draw(st.booleans()):
        payload = data.draw(st.binary(max_size=300))
    else:
        payload = bytearray(good[: data.draw(st.integers(0, len(good)))])
        for _ in range(data.draw(st.integers(0, 3))):
            if payload:
                payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/worldforge.jepa.v1.WorldModelService/Score")
        try:
            scores = jepa_pb2.ScoreResponse.FromString(call(bytes(payload), timeout=DEADLINE)).scores
            assert np.isfinite(scores).all()
        except grpc.RpcError as error:
            assert error.code() in {
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.NOT_FOUND,
                grpc.StatusCode.OUT_OF_RANGE,
            }, error


def test_many_clients_at_once_each_get_their_own_scores(server):
    expected, got, errors = {}, {}, []
    with Client(server.target, timeout=60) as one:
        for seed in range(8):
            expected[seed] = one.score(**scene(), **raw_candidates(seed=seed)).scores

    def work(seed):
        try:
            with Client(server.target, timeout=60) as mine:
                got[seed] = [mine.score(**scene(), **raw_candidates(seed=seed)).scores for _ in range(5)]
        except JepaError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    for seed, scores in expected.items():
        for again in got[seed]:
            np.testing.assert_array_equal(again, scores)
