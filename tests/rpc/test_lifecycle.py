"""The process around the server: addresses, signals, standard output, logs, and models that do not return."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.rpc.test_server import health
from tests.servers.process import start_fails
from tests.support.scenes import scene
from worldforge_jepa_client import Client, wire
from worldforge_jepa_client.contract.types import PlanCall
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.rpc.channel import channel_options
from worldforge_jepa_client.v1 import jepa_pb2_grpc
from worldforge_jepa_server.app.logs import LogQueue, without_call_noise

DEADLINE = 60
FRAME = np.zeros((3, 4, 4), np.uint8)
REQUEST = {"observation": FRAME, "goal": FRAME, "action_candidates": np.zeros((1, 5, 2, 2), np.float32)}
COMMAND = [sys.executable, "-m", "worldforge_jepa_server"]


def never(path, name="Patient"):
    return ("--model", f"stuck=python:tests.support.python_models:{name},path={path}/never")


def test_a_path_that_is_not_utf8_leaves_a_server_that_serves_or_one_that_has_exited_with_an_error(start_server):
    server = start_server()
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary(b"/\xff")(b"", timeout=DEADLINE)
    try:
        assert health(server.target) == health_pb2.HealthCheckResponse.SERVING
    except grpc.RpcError:
        assert server.process.wait(DEADLINE) == 1
        server.wait_logged("gRPC stopped accepting calls")


@pytest.mark.parametrize(
    "listen",
    ["127.0.0.1", "localhost", "127.0.0.1:99999", "tcp://127.0.0.1:1", ":abc", ":50051", "::1:50051", "a:b", "unix:"],
)
def test_a_malformed_address_is_one_clear_line(listen):
    code, said = start_fails(listen=listen)
    assert code in (1, 2)  # refused by its grammar, or by its port
    (line,) = (line for line in said.splitlines() if "--listen" in line)
    assert repr(listen) in line


def test_localhost_is_refused_where_one_of_its_families_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = start_fails(listen=f"localhost:{taken.getsockname()[1]}")
    assert code == 1
    assert "it is in use" in said


def test_an_abstract_socket_prints_an_address_that_works(start_server):
    name = f"unix-abstract:jepa-{os.getpid()}"
    server = start_server(listen=name)
    assert server.target == name
    assert health(name) == health_pb2.HealthCheckResponse.SERVING


def test_a_socket_file_that_answers_is_refused_and_a_stale_one_replaced(start_server, tmp_path):
    listen = f"unix:{tmp_path}/jepa.sock"
    first = start_server(listen=listen)
    code, said = start_fails(listen=listen)
    assert code == 1
    assert "a server answers there" in said
    assert health(listen) == health_pb2.HealthCheckResponse.SERVING
    first.kill()
    second = start_server(listen=listen)
    assert health(listen) == health_pb2.HealthCheckResponse.SERVING
    assert second.terminate() == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_ends_leaves_the_socket_file_of_another(start_server, tmp_path):
    path = tmp_path / "jepa.sock"
    first = start_server(listen=f"unix:{path}")
    path.unlink()
    second = start_server(listen=f"unix:{path}")
    first.terminate()
    assert health(second.target) == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_model_loads_ends_the_process_at_once(tmp_path, signum):
    command = [*COMMAND, "--listen", "127.0.0.1:0", "--log-level", "debug", *never(tmp_path, "late")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "malloc" not in process.stderr.readline():
            pass
        time.sleep(0.5)  # until the loader runs: nothing tells when
        began = time.monotonic()
        process.send_signal(signum)
        said, _ = process.communicate(timeout=DEADLINE)
    assert time.monotonic() - began < 5
    assert (process.returncode, said) == (0, "")


def test_a_drain_ends_in_time_although_a_thread_is_stuck(start_server, tmp_path):
    server = start_server(*never(tmp_path), "--drain-seconds", "2", "--log-level", "debug")
    with Client(server.target, timeout=DEADLINE) as client, ThreadPoolExecutor(1) as pool:
        doomed = pool.submit(client.score, **REQUEST)
        server.wait_logged("5 candidates")
        began = time.monotonic()
        code, _ = server.terminate()
        assert time.monotonic() - began < 5
        with pytest.raises(JepaError):
            doomed.result(DEADLINE)
    assert code == 1


def test_a_second_signal_ends_the_drain(start_server, tmp_path):
    server = start_server(*never(tmp_path), "--log-level", "debug")
    with Client(server.target, timeout=DEADLINE) as client, ThreadPoolExecutor(1) as pool:
        doomed = pool.submit(client.score, **REQUEST)
        server.wait_logged("5 candidates")
        server.process.send_signal(signal.SIGTERM)
        server.wait_logged("draining")
        began = time.monotonic()
        server.terminate()
        assert time.monotonic() - began < 10
        with pytest.raises(JepaError):
            doomed.result(DEADLINE)


def test_a_watcher_of_health_does_not_hold_up_the_drain(start_server):
    server = start_server()
    with grpc.insecure_channel(server.target) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watched)
        began = time.monotonic()
        assert server.terminate() == (0, "")
        assert time.monotonic() - began < 10


def test_a_model_that_does_not_return_is_reported_and_then_ends_the_process(start_server, tmp_path):
    server = start_server(*never(tmp_path), "--hang-seconds", "2")
    with Client(server.target, timeout=DEADLINE) as client, ThreadPoolExecutor(1) as pool:
        doomed = pool.submit(client.score, **REQUEST)
        while health(server.target) == health_pb2.HealthCheckResponse.SERVING:
            time.sleep(0.05)
        with pytest.raises(JepaError):
            doomed.result(DEADLINE)
    assert server.process.wait(DEADLINE) == 3
    assert "model stuck: has not returned" in server.log
    assert "exit with code 3: model stuck has not returned" in server.log


def test_a_model_that_prints_neither_stops_the_server_nor_reaches_standard_output(start_server):
    server = start_server("--model", "loud=python:tests.support.python_models:Printing", "--log-level", "warning")
    with Client(server.target, timeout=DEADLINE) as client:
        for _ in range(3):
            assert np.isfinite(client.score(**REQUEST).scores).all()
    assert server.terminate() == (0, "")


def test_a_log_that_is_not_read_drops_and_counts(monkeypatch):
    read, release = [], threading.Event()

    class Unread:
        def write(self, text):
            release.wait(DEADLINE)
            read.append(text)

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stderr", Unread())
    queue = LogQueue(lines=2)
    for number in range(20):
        queue.emit(logging.LogRecord("x", 20, "", 0, f"line {number}", (), None))
    assert queue.dropped >= 17
    release.set()
    queue.close()
    assert "log lines dropped" in "".join(read)


def test_an_unread_stderr_does_not_stop_the_server():
    command = [*COMMAND, "--listen", "127.0.0.1:0", "--log-level", "debug", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        target = process.stdout.readline().removeprefix("serving on ").strip()
        with Client(target, timeout=DEADLINE) as client:
            for number in range(900):
                with pytest.raises(JepaError):
                    client.score(**REQUEST, model="x" * 200 + str(number))
        assert health(target) == health_pb2.HealthCheckResponse.SERVING
        process.kill()


@pytest.mark.parametrize(
    ("target", "direct"),
    [("127.0.0.1:1", True), ("localhost:1", True), ("[::1]:1", True), ("unix:/x", True), ("robot:1", False)],
)
def test_no_proxy_stands_before_a_target_on_this_host(target, direct):
    assert (("grpc.enable_http_proxy", 0) in channel_options(target)) == direct


def test_a_proxy_of_the_environment_does_not_capture_loopback(server, dead_target, monkeypatch):
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://{dead_target}")
    with Client(server.target, timeout=DEADLINE) as client:
        assert client.model().name == "tiny"


def test_what_grpc_logs_of_a_call_is_one_line():
    try:
        raise grpc.RpcError("the client went away")
    except grpc.RpcError as error:
        record = logging.LogRecord(
            "grpc._cython.cygrpc", 40, "", 0, "Unexpected [%s]", ("x",), (type(error), error, None)
        )
    assert without_call_noise(record)
    assert logging.Formatter().format(record) == "a call ended: the client went away"


def test_clients_that_go_away_leave_no_traceback_in_the_log(start_server):
    server = start_server("--threads", "1")
    for _ in range(5):
        with grpc.insecure_channel(server.target) as channel:
            stub = jepa_pb2_grpc.WorldModelServiceStub(channel)
            where = build_scene(**scene(), action_history=None)
            request = wire.plan_request(PlanCall(where, planner=PlannerOptions(horizon=2, samples=8, elites=2)))
            plans = [stub.Plan(request, timeout=DEADLINE) for _ in range(4)]
            next(plans[0])
    assert health(server.target) == health_pb2.HealthCheckResponse.SERVING
    assert server.terminate() == (0, "")
    assert "Traceback" not in server.log
