"""The request log: one line a call, as text or JSON, with what an operator asks for and no secret."""

import json
import time

import grpc
import pytest

from tests.security.certificates import TOKENS, make
from tests.support.scenes import candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc

DEADLINE = 60
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
S, H = 5, 3


@pytest.fixture(scope="module")
def logging_server(start_server, tmp_path_factory):
    files = make(tmp_path_factory.mktemp("log"))
    return start_server(
        "--model",
        "tiny",
        "--threads",
        "1",
        "--log-format",
        "json",
        "--slow-ms",
        "0.001",
        "--token-file",
        files.token_file,
    )


def lines(server, count, **wanted):
    """So many lines about calls that have these fields, once they are there."""
    deadline = time.monotonic() + DEADLINE
    while True:
        found = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        found = [line for line in found if wanted.items() <= line.items()]
        if len(found) >= count:
            return found
        assert time.monotonic() < deadline, server.log
        time.sleep(0.01)


def test_a_call_is_one_line_with_its_ids_shape_and_times(logging_server):
    metadata = [("x-request-id", "plan-7"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")]
    with Client(logging_server.target, timeout=DEADLINE, token=TOKENS["arm"], metadata=metadata) as client:
        client.score(**scene(), action_candidates=candidates(samples=S, horizon=H))
    method = "worldforge.jepa.v1.WorldModelService/Score"
    (line,) = lines(logging_server, 1, method=method, request_id="plan-7")
    assert (line["model"], line["samples"], line["horizon"], line["code"], line["reason"]) == ("tiny", S, H, "OK", "")
    assert (line["trace_id"], line["principal"], line["received"], line["sent"]) == (TRACE, "arm", 1, 1)
    assert 0 <= line["queue_ms"] < line["total_ms"]
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert (line["level"], line["message"]) == ("warning", "slow call")
    assert TOKENS["arm"] not in logging_server.log


def test_a_stream_is_one_line_at_its_end_and_one_for_each_slow_answer(logging_server):
    metadata = [("x-request-id", "session-1")]
    with (
        Client(logging_server.target, timeout=DEADLINE, token=TOKENS["arm"], metadata=metadata) as client,
        client.session(**scene()) as session,
    ):
        for _ in range(3):
            session.score(candidates(samples=S, horizon=H))
    assert len(lines(logging_server, 3, request_id="session-1", message="slow answer")) == 3
    (line,) = lines(logging_server, 1, request_id="session-1", sent=3)
    assert line["received"] == 3


def test_a_refused_call_is_a_line_with_its_reason(logging_server):
    with Client(logging_server.target, timeout=DEADLINE) as client, pytest.raises(JepaError):
        client.models()
    (line,) = lines(logging_server, 1, code="UNAUTHENTICATED")
    assert (line["reason"], line["principal"], line["model"]) == ("NO_TOKEN", "", "")


def test_the_request_id_comes_back_in_the_trailers(logging_server):
    bearer = ("authorization", f"Bearer {TOKENS['arm']}")
    with grpc.insecure_channel(logging_server.target) as channel:
        get = jepa_pb2_grpc.WorldModelServiceStub(channel).GetModel.with_call
        _, call = get(jepa_pb2.GetModelRequest(), metadata=[bearer, ("x-request-id", "mine")])
        assert ("x-request-id", "mine") in call.trailing_metadata()
        _, call = get(jepa_pb2.GetModelRequest(), metadata=[bearer])
        assert len(dict(call.trailing_metadata())["x-request-id"]) == 16
        with pytest.raises(grpc.RpcError) as caught:
            get(jepa_pb2.GetModelRequest(model="nope"), metadata=[bearer, ("x-request-id", "failed")])
        assert ("x-request-id", "failed") in caught.value.trailing_metadata()
        _, call = get(jepa_pb2.GetModelRequest(), metadata=[bearer, ("x-request-id", "a b" * 100)])
        assert len(dict(call.trailing_metadata())["x-request-id"]) == 16  # one that no log should hold


def test_text_lines_have_the_same_fields(server):
    with Client(server.target, timeout=DEADLINE) as client:
        client.model()
    server.wait_logged("method=worldforge.jepa.v1.WorldModelService/GetModel model=tiny")
    assert "INFO worldforge_jepa_server.request: call request_id=" in server.log
