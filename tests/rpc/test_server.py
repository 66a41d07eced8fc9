"""The server process: it says when it is ready, tells its health, drains, and names what keeps it from starting."""

import platform
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from tests.servers.process import start_fails
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import FailedPreconditionError, UnavailableError

SERVICE = "worldforge.jepa.v1.WorldModelService"
DEADLINE = 60


def health(target, service=""):
    with grpc.insecure_channel(target) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return health_pb2_grpc.HealthStub(channel).Check(request, timeout=DEADLINE).status


def test_server_prints_one_ready_line_and_exits_with_0(start_server):
    server = start_server(fresh=True)
    assert server.target.startswith("127.0.0.1:")
    assert health(server.target) == health_pb2.HealthCheckResponse.SERVING
    code, rest = server.terminate()
    assert (code, rest) == (0, "")


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_is_the_standard_one(server, service):
    assert health(server.target, service) == health_pb2.HealthCheckResponse.SERVING


def test_reflection_shows_the_service_to_grpcurl_and_ghz(server):
    with grpc.insecure_channel(server.target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert SERVICE in database.get_services()


def test_reflection_v1_is_served_beside_v1alpha(server):
    v1 = "grpc.reflection.v1.ServerReflection"
    asked = [ServerReflectionRequest(list_services=""), ServerReflectionRequest(file_containing_symbol=v1)]
    with grpc.insecure_channel(server.target) as channel:
        call = channel.stream_stream(
            f"/{v1}/ServerReflectionInfo",
            ServerReflectionRequest.SerializeToString,
            ServerReflectionResponse.FromString,
        )
        listed, found = call(iter(asked), timeout=DEADLINE)
    assert {SERVICE, v1} <= {service.name for service in listed.list_services_response.service}
    assert found.HasField("file_descriptor_response")


@pytest.mark.parametrize(
    ("symbol", "known"),
    [(SERVICE, True), (f"{SERVICE}.Score", True), (f"{SERVICE}.Dance", False), ("Dance", False), ("", False)],
)
def test_reflection_finds_methods_too_as_ghz_asks_for_them(server, symbol, known):
    asked = ServerReflectionRequest(file_containing_symbol=symbol)
    with grpc.insecure_channel(server.target) as channel:
        (answer,) = ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), timeout=DEADLINE)
    assert answer.HasField("file_descriptor_response") == known
    assert (answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]) == (not known)


def test_its_log_says_how_memory_is_kept(server):
    assert "malloc: " in server.log
    if platform.libc_ver()[0] == "glibc":
        assert "malloc: glibc's, keeps 1024 MiB" in server.log


def test_reflection_and_open_inference_can_be_switched_off(start_server):
    server = start_server("--no-reflection", "--no-open-inference")
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as caught:
        ProtoReflectionDescriptorDatabase(channel).get_services()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=DEADLINE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    server.terminate()


def test_a_unix_socket_works(start_server, tmp_path):
    server = start_server(listen=f"unix:{tmp_path}/jepa.sock")
    assert server.target == f"unix:{tmp_path}/jepa.sock"
    with Client(server.target) as client:
        assert client.model().name == "tiny"
    server.terminate()


def test_on_sigterm_accepted_calls_finish_and_new_ones_are_refused(start_server, tmp_path):
    may_finish = tmp_path / "may_finish"
    model = f"patient=python:tests.support.python_models:Patient,path={may_finish}"
    server = start_server("--model", model, "--log-level", "debug")
    frame = np.zeros((3, 4, 4), np.uint8)
    request = {"observation": frame, "goal": frame, "action_candidates": np.zeros((1, 5, 2, 2), np.float32)}
    with Client(server.target, timeout=60) as client, Client(server.target) as late, ThreadPoolExecutor(1) as pool:
        late.model()
        accepted = pool.submit(client.score, **request)
        server.wait_logged("5 candidates")
        stopping = threading.Thread(target=server.terminate)
        stopping.start()
        server.wait_logged("draining")
        with pytest.raises(UnavailableError):
            late.model()
        assert not accepted.done()
        may_finish.touch()
        assert np.isfinite(accepted.result(timeout=60).scores).all()
    stopping.join(DEADLINE)
    assert server.process.returncode == 0


def test_a_lazy_server_serves_while_its_models_load_and_without_those_that_cannot(start_server, tmp_path):
    may_load = tmp_path / "may_load"
    late = f"late=python:tests.support.python_models:late,path={may_load}"
    server = start_server("--lazy", "--model", "tiny", "--model", "gone=native:jepa_wm_pusht", "--model", late)
    with Client(server.target, timeout=DEADLINE) as client:
        server.wait_logged("cannot load gone")
        assert client.model().name == "tiny"
        assert health(server.target) == health_pb2.HealthCheckResponse.NOT_SERVING
        for ask in (client.models, lambda: client.model("late")):
            with pytest.raises(UnavailableError, match="the server is loading late") as caught:
                ask()
            assert (caught.value.reason, caught.value.retry_after) == ("MODEL_LOADING", 1.0)
        may_load.touch()
        client.wait_ready(DEADLINE)
        assert [spec.name for spec in client.models()] == ["tiny", "late"]
        with pytest.raises(FailedPreconditionError, match=r"gone cannot be loaded: .*checkpoint") as refused:
            client.model("gone")
        assert refused.value.reason == "MODEL_NOT_LOADED"
    assert server.terminate() == (0, "")


def test_an_address_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = start_fails(listen=address)
    assert code == 1
    assert f"cannot listen on {address}" in said


def test_two_servers_never_share_an_address(server):
    code, said = start_fails(listen=server.target)
    assert code == 1
    assert "in use" in said


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "nothing"], 1, "unknown source 'nothing'; known: tiny"),
        (["--model", "a=tiny,color=blue"], 1, "tiny takes only the options precision, compile, got color"),
        (["--model", "a=tiny", "--model", "a=tiny"], 2, "same name"),
        (["--model", "=tiny"], 2, "is not NAME or NAME=SOURCE"),
        (["--model", "a=tiny,color"], 2, "is not NAME or NAME=SOURCE"),
        (["--device", "cuda:77"], 1, "model tiny:"),
        (["--queue-size", "many"], 2, "--queue-size"),
        (["--unknown"], 2, "--unknown"),
    ],
)
def test_a_failed_start_names_its_cause(arguments, code, words):
    got, said = start_fails(*arguments)
    assert got == code
    assert words in said
