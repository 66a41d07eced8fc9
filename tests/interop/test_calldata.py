"""Calldata: the files fit ghz's framing, and what is in them is accepted by a server as it is."""

import io
import json

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from worldforge_jepa_client import wire
from worldforge_jepa_client.tools.calldata import SERVICE, as_json, calldata, delimited, parse_delimited
from worldforge_jepa_client.tools.cli import main
from worldforge_jepa_client.v1 import jepa_pb2

S, H, COUNT = 4, 2, 3
METHODS = {method.name: method for method in jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"].methods}
WRITTEN = sorted(set(METHODS) - {"DeleteContext"})


@pytest.fixture(scope="module")
def folder(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calldata")
    shape = ["--samples", str(S), "--horizon", str(H), "--count", str(COUNT)]
    assert main(["calldata", "--target", server.target, "--output", str(folder), *shape]) == 0
    return folder


def request_class(name):
    return GetMessageClass(METHODS[name].input_type)


def response_class(name):
    return GetMessageClass(METHODS[name].output_type)


def raw_messages(data):
    """Return the bytes behind each varint length, read without protobuf: this tests the framing itself."""
    stream = io.BytesIO(data)
    while first := stream.read(1):
        size = shift = 0
        while True:
            size |= (first[0] & 0x7F) << shift
            if first[0] < 0x80:
                break
            first, shift = stream.read(1), shift + 7
        message = stream.read(size)
        assert len(message) == size
        yield message


def replay(channel, name, requests):
    """Send bytes as they are; return the responses, of a unary call or of a stream, as messages."""
    method = METHODS[name]
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channel, kind)(f"/{SERVICE}/{name}", response_deserializer=response_class(name).FromString)
    if method.client_streaming:
        return list(call(iter(requests), timeout=60))
    answers = [call(request, timeout=60) for request in requests]
    return [list(answer) for answer in answers] if method.server_streaming else answers


def test_every_method_that_a_file_can_ask_for_has_its_files(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}{end}" for name in WRITTEN for end in (".bin", ".json")
    )


@pytest.mark.parametrize("name", WRITTEN)
def test_both_files_hold_the_same_messages(folder, name):
    binary = list(parse_delimited((folder / f"{name}.bin").read_bytes(), request_class(name)))
    mapped = [ParseDict(item, request_class(name)()) for item in json.loads((folder / f"{name}.json").read_text())]
    assert binary == mapped
    assert len(binary) == (1 if name in ("GetModel", "ListModels") else COUNT)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_server_takes_the_bytes_as_they_are(server, folder, name):
    requests = list(raw_messages((folder / f"{name}.bin").read_bytes()))
    with grpc.insecure_channel(server.target) as channel:
        answers = replay(channel, name, requests)
    assert len(answers) == len(requests)
    assert all(answers)


def test_a_stream_scores_every_message_in_the_first_ones_scene(server, folder, client):
    requests = list(raw_messages((folder / "ScoreStream.bin").read_bytes()))
    with grpc.insecure_channel(server.target) as channel:
        answers = replay(channel, "ScoreStream", requests)
    first = wire.score_call(next(parse_delimited((folder / "Score.bin").read_bytes(), jepa_pb2.ScoreRequest)))
    for request, answer in zip(requests, answers, strict=True):
        candidates = wire.decode_tensor(jepa_pb2.ScoreStreamRequest.FromString(request), "action_candidates")
        assert candidates.shape[1:3] == (S, H)
        expected = client.score(**vars(first.scene), action_candidates=candidates)
        np.testing.assert_array_equal(np.array(answer.score.scores, np.float32), expected.scores)


@pytest.mark.parametrize(("flag", "value"), [("samples", 0), ("horizon", -1), ("count", 0), ("seed", -1)])
def test_numbers_that_make_no_request_are_named(server, tmp_path, capsys, flag, value):
    assert main(["calldata", "--target", server.target, "--output", str(tmp_path), f"--{flag}", str(value)]) == 1
    assert f"worldforge-jepa calldata: {flag}: is {value}; expected " in capsys.readouterr().err


def test_each_file_comes_with_the_command_that_uses_it(server, tmp_path, capsys):
    main(["calldata", "--target", server.target, "--output", str(tmp_path), "--count", "1"])
    expected = [f"--call {SERVICE}/{name} -B {tmp_path / name}.bin {server.target}" for name in WRITTEN]
    assert sorted(line.partition("--insecure ")[2] for line in capsys.readouterr().out.splitlines()) == sorted(expected)


def test_equal_seeds_give_equal_requests_and_others_do_not(client):
    one, same, other = (calldata(client.model(), samples=S, horizon=H, count=1, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one["Score"] != other["Score"]


def test_a_plan_of_a_single_candidate_is_still_one_that_the_server_can_make(server, client):
    plan = calldata(client.model(), samples=1, horizon=1, count=1, seed=0)["Plan"]
    with grpc.insecure_channel(server.target) as channel:
        assert replay(channel, "Plan", [plan[0].SerializeToString()])[0][-1].iteration == plan[0].planner.iterations


@given(st.lists(st.text("aé"), max_size=4))
def test_any_messages_survive_both_formats(names):
    requests = [jepa_pb2.GetModelRequest(model=name) for name in names]
    assert list(parse_delimited(delimited(requests), jepa_pb2.GetModelRequest)) == requests
    assert [jepa_pb2.GetModelRequest.FromString(raw) for raw in raw_messages(delimited(requests))] == requests
    assert [ParseDict(item, jepa_pb2.GetModelRequest()) for item in json.loads(as_json(requests))] == requests
