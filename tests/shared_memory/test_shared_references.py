"""Refusals of references to shared memory: a clear error each time, and nothing read that should not be."""

import os
import secrets

import grpc
import numpy as np
import pytest

from tests.shared_memory.segments import received, request
from tests.support.raw_stub import a_scene, score_request
from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client import Client, wire
from worldforge_jepa_client.contract.types import PlanCall, PlannerOptions, UnrollCall
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.shm import segments as shm_segments
from worldforge_jepa_client.shm.channel import SharedChannel
from worldforge_jepa_client.shm.segments import FOLDER, PREFIX, Segments
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc
from worldforge_jepa_client.wire.status import from_message, from_rpc_error
from worldforge_jepa_client.wire.tensors import tensors_in
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.rpc.shared_memory import parser

DEADLINE = 60
ARRAY = candidates(samples=8)
BEYOND = 2**64 - 1


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(shm_segments, "SMALLEST", 1)


@pytest.fixture
def shared():
    """A request whose candidates are in shared memory."""
    message = request(ARRAY)
    with Segments().sharing(message):
        yield message


@pytest.fixture
def place(shared):
    """The reference to the candidates' shared memory."""
    return shared.action_candidates.shared


@pytest.fixture
def named():
    """A path in shared memory that a segment might have."""
    path = FOLDER / f"{PREFIX}{secrets.token_hex(16)}"
    yield path
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def refused(message, parse=None):
    with pytest.raises(JepaError) as caught:
        received(message, parse) if parse else received(message)
    error = caught.value
    assert error.field.startswith("action_candidates") or not error.field
    return error.code.name, error.reason, error.field.removeprefix("action_candidates").removeprefix(".")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../../etc/passwd",
        f"{PREFIX}{'0' * 31}",
        f"{PREFIX}{'0' * 33}",
        f"{PREFIX}{'A' * 32}",
        f"{PREFIX}{'0' * 32}\n",
        f"{PREFIX}{'0' * 32}/../../../etc/passwd",
        PREFIX + "\N{ARABIC-INDIC DIGIT ONE}" * 32,
        "x" * 100_000,
    ],
)
def test_only_a_segments_name_is_looked_up(shared, place, name, monkeypatch):
    place.name = name
    monkeypatch.delattr(os, "open")
    assert refused(shared) == ("INVALID_ARGUMENT", "INVALID_VALUE", "shared.name")


@pytest.mark.parametrize(
    "make",
    [
        lambda path, _: None,
        lambda path, segment: path.symlink_to(segment),
        lambda path, _: path.symlink_to("/etc/passwd"),
        lambda path, _: os.mkfifo(path),
        lambda path, _: path.mkdir(),
    ],
    ids=["nothing", "link to a segment", "link elsewhere", "pipe", "folder"],
)
def test_only_a_regular_file_is_read(shared, place, named, make):
    make(named, FOLDER / place.name)
    place.name = named.name
    assert refused(shared) == ("FAILED_PRECONDITION", "SEGMENT_NOT_FOUND", "shared.name")


def test_only_a_file_of_the_servers_user_is_read(shared, monkeypatch):
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert refused(shared) == ("FAILED_PRECONDITION", "SEGMENT_NOT_FOUND", "shared.name")


@pytest.mark.parametrize("offset", [1, ARRAY.nbytes, 2**63 - 1, 2**63, BEYOND])
def test_a_reference_beyond_the_segments_end_is_refused(shared, place, offset):
    place.offset = offset
    assert refused(shared) == ("INVALID_ARGUMENT", "SEGMENT_TOO_SHORT", "shared")


@pytest.mark.parametrize("length", [0, ARRAY.nbytes - 1, ARRAY.nbytes + 1, 2**26 - 1000])
def test_only_as_much_as_the_shape_needs_is_read(shared, place, length):
    place.length = length
    assert refused(shared) == ("INVALID_ARGUMENT", "DATA_LENGTH_MISMATCH", "")


def test_a_shared_tensor_over_the_message_limit_is_refused(shared, place):
    place.length = BEYOND
    assert refused(shared) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE", "")


def test_the_tensors_that_a_request_shares_count_together():
    parse = parser(ServerConfig(shared_memory=True, max_message_mib=1))
    half = np.zeros((1, 1, 1, 2**17), np.float32)
    message = request(half)
    with Segments().sharing(message):
        assert received(message, parse).nbytes == half.nbytes
        message.context.goal.visual.CopyFrom(message.action_candidates)
        assert refused(message, parse) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE", "")


def test_a_segment_that_is_cut_while_it_is_read_is_an_error(shared, place, monkeypatch):
    read = os.pread

    def cutting(descriptor, length, offset):
        os.truncate(FOLDER / place.name, ARRAY.nbytes // 2)
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", cutting)
    assert refused(shared) == ("INVALID_ARGUMENT", "SEGMENT_TOO_SHORT", "shared")


def test_inline_data_and_shared_memory_together_are_refused(shared):
    shared.action_candidates.data = ARRAY.tobytes()
    assert refused(shared) == ("INVALID_ARGUMENT", "CONFLICTING_FIELDS", "")


def test_shared_memory_is_off_unless_the_server_was_told(shared):
    assert refused(shared, parser(ServerConfig())) == ("FAILED_PRECONDITION", "SHARED_MEMORY_OFF", "")
    shared.action_candidates.data = ARRAY.tobytes()
    assert refused(shared, parser(ServerConfig())) == ("FAILED_PRECONDITION", "SHARED_MEMORY_OFF", "")


# On the wire


def test_a_server_that_does_not_read_shared_memory_names_the_field(server):
    with Client(server.target, timeout=DEADLINE, shared_memory=True) as client:
        expected = ("SHARED_MEMORY_OFF", "context.observation.visual")
        with pytest.raises(JepaError, match="--shared-memory") as caught:
            client.score(**scene(), **raw_candidates())
        assert (caught.value.reason, caught.value.field) == expected
        with client.session(**scene()) as session, pytest.raises(JepaError, match="--shared-memory") as caught:
            session.score(candidates())
        assert (caught.value.reason, caught.value.field) == expected


def test_every_method_reads_what_is_shared(sharing_server):
    where = a_scene()
    unroll = wire.unroll_request(UnrollCall(scene=where, action_candidates=ARRAY))
    encode = wire.encode_request(where.observation, "", "float32")
    planner = PlannerOptions(samples=16, iterations=1, horizon=2)
    plan = wire.plan_request(PlanCall(scene=where, planner=planner, initial_mean=ARRAY[0, 0]))

    def answers(stub):
        context = stub.CreateContext(wire.context_request(where, ""), timeout=DEADLINE)
        yield stub.Score(score_request(context.context_id), timeout=DEADLINE).scores
        yield stub.Encode(encode, timeout=DEADLINE)
        yield list(stub.Unroll(unroll, timeout=DEADLINE))
        yield [response.mean for response in stub.Plan(plan, timeout=DEADLINE)]

    with grpc.insecure_channel(sharing_server.target) as channel:
        stub = jepa_pb2_grpc.WorldModelServiceStub(channel)
        inline = list(answers(stub))
        segments = Segments()
        with segments.sharing(unroll), segments.sharing(plan):  # which the channel leaves as they are
            assert all(tensor.HasField("shared") for _, tensor in tensors_in(plan))
            sharing = jepa_pb2_grpc.WorldModelServiceStub(SharedChannel(channel, segments))
            assert list(answers(sharing)) == inline


def test_a_server_answers_bad_references_and_goes_on(sharing_server):
    good = score_request(a_scene())
    bad = jepa_pb2.ScoreRequest.FromString(good.SerializeToString())
    bad.context.goal.visual.ClearField("data")
    bad.context.goal.visual.shared.name = f"{PREFIX}{'0' * 32}"
    bad.context.goal.visual.shared.length = len(good.context.goal.visual.data)
    expected = ("SEGMENT_NOT_FOUND", "context.goal.visual.shared.name")
    with grpc.insecure_channel(sharing_server.target) as channel:
        stub = jepa_pb2_grpc.WorldModelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Score(bad, timeout=DEADLINE)
        error = from_rpc_error(caught.value, "server")
        assert (error.reason, error.field) == expected
        stream = [
            jepa_pb2.ScoreStreamRequest(context=message.context, action_candidates=message.action_candidates)
            for message in (bad, good)
        ]
        refusal, answer = stub.ScoreStream(iter(stream), timeout=DEADLINE)
        error = from_message(refusal.error)
        assert (error.reason, error.field) == expected
        assert len(answer.score.scores) == 4
