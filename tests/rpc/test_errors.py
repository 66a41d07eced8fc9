"""Errors: the same class, reason, field and delay on both ends of the wire."""

import logging

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from worldforge_jepa_client import errors
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.wire.status import from_rpc_error, to_status
from worldforge_jepa_server.rpc.status import as_jepa_error

CLASSES = JepaError.__subclasses__()


class FailedCall(grpc.RpcError):
    """The client's view of a call that the server aborted."""

    def __init__(self, status):
        self._status = rpc_status.to_status(status)

    def code(self):
        return self._status.code

    def details(self):
        return self._status.details

    def trailing_metadata(self):
        return self._status.trailing_metadata


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("field", ["", "context.goal.visual"])
@pytest.mark.parametrize("retry_after", [None, 0.25])
def test_every_error_survives_the_wire(cls, field, retry_after):
    sent = cls("what came and what was expected", reason="SOME_REASON", field=field, retry_after=retry_after)
    received = from_rpc_error(FailedCall(to_status(sent)), "target")
    assert type(received) is cls
    assert str(received) == str(sent)
    assert (received.reason, received.field, received.retry_after) == ("SOME_REASON", field, retry_after)


def test_each_class_has_its_own_status():
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)


def test_details_follow_the_google_error_model():
    status = to_status(errors.InvalidArgumentError("is wrong", reason="INVALID_SHAPE", field="goal"))
    names = [detail.type_url.rpartition(".")[2] for detail in status.details]
    assert names == ["ErrorInfo", "BadRequest"]
    status = to_status(errors.ResourceExhaustedError("full", reason="QUEUE_FULL", retry_after=0.5))
    assert [detail.type_url.rpartition(".")[2] for detail in status.details] == ["ErrorInfo", "RetryInfo"]


def test_a_status_fits_into_trailers():
    for letter in ("x", "\N{ROBOT FACE}"):
        status = to_status(errors.InvalidArgumentError(letter * 100_000, reason="R", field="f"))
        assert len(status.SerializeToString()) < 4096


class FailedByGrpc(FailedCall):
    def __init__(self, code, details):
        self._code, self._details = code, details

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return ()


def test_an_error_of_grpc_itself_names_the_target():
    received = from_rpc_error(FailedByGrpc(grpc.StatusCode.UNAVAILABLE, "connection refused"), "host:1")
    assert type(received) is errors.UnavailableError
    assert str(received) == "host:1: connection refused"
    assert received.reason == "UNAVAILABLE"


def test_a_server_that_cancels_a_call_is_going_away():
    received = from_rpc_error(FailedByGrpc(grpc.StatusCode.CANCELLED, "CANCELLED"), "host:1")
    assert type(received) is errors.UnavailableError
    assert (str(received), received.reason) == ("host:1: CANCELLED", "UNAVAILABLE")


class FailedWithTrailers(FailedByGrpc):
    def __init__(self, status):
        super().__init__(grpc.StatusCode.UNAVAILABLE, "a proxy's words")
        self._status = status

    def trailing_metadata(self):
        return (("grpc-status-details-bin", self._status),)


OWN = to_status(errors.InvalidArgumentError("is wrong", reason="INVALID_SHAPE", field="goal"))
BROKEN_DETAIL = Status(
    code=14, message="a proxy's words", details=[Any(type_url=OWN.details[0].type_url, value=b"\x0a")]
)


@pytest.mark.parametrize("trailer", [OWN.SerializeToString(), b"\x0a", BROKEN_DETAIL.SerializeToString()])
def test_foreign_trailers_leave_the_status_they_came_with(trailer):
    received = from_rpc_error(FailedWithTrailers(trailer), "host:1")
    assert type(received) is errors.UnavailableError
    assert (str(received), received.reason, received.field) == ("host:1: a proxy's words", "UNAVAILABLE", "")


def test_too_large_a_message_is_told_from_a_full_queue():
    received = from_rpc_error(FailedByGrpc(grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"), "host:1")
    assert received.reason == "MESSAGE_TOO_LARGE"


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (413, "RESOURCE_EXHAUSTED", "client_max_body_size"),
        (504, "UNAVAILABLE", "grpc_read_timeout"),
        (418, "UNKNOWN", ""),
    ],
)
def test_an_error_that_a_proxy_answered_says_so_and_how_to_mend_it(status, code, advice):
    told = f"Received http2 header with status: {status}"
    received = from_rpc_error(FailedByGrpc(grpc.StatusCode.UNKNOWN, told), "host:1")
    assert received.code.name == code
    assert "a proxy before the server" in str(received)
    assert advice in str(received)


def test_ray_serve_before_it_knows_of_a_replica_is_unavailable():
    told = (
        "Application metadata not set. Ping /ray.serve.RayServeAPIService/ListApplications for available applications."
    )
    received = from_rpc_error(FailedByGrpc(grpc.StatusCode.NOT_FOUND, told), "host:1")
    assert type(received) is errors.UnavailableError
    assert received.reason == "NO_REPLICA"


def test_a_status_outside_the_tree_is_still_an_error_with_a_reason():
    received = from_rpc_error(FailedByGrpc(grpc.StatusCode.DATA_LOSS, "no"), "host:1")
    assert type(received) is JepaError
    assert received.reason == "DATA_LOSS"


def test_an_unforeseen_exception_is_logged_under_the_id_that_its_message_carries(caplog):
    with caplog.at_level(logging.ERROR):
        error = as_jepa_error(RuntimeError("secret path"))
    assert isinstance(error, errors.InternalError)
    incident = str(error).rpartition(" ")[2]
    assert incident in caplog.text
    assert "secret path" in caplog.text
    assert "secret path" not in str(error)
