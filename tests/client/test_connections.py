"""Connections: a lost one is noticed in seconds by both sides, an old one is replaced, and none takes all calls."""

import contextlib
import os
import signal
import socket
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError
from worldforge_jepa_client.rpc.channel import channel_options
from worldforge_jepa_client.rpc.credentials import Credentials
from worldforge_jepa_client.rpc.failures import proxy_of
from worldforge_jepa_client.wire.metadata import SESSION_METADATA

DEADLINE = 60
SOON = 15  # seconds, on a busy machine: pings go out after one and may take another
MAX_STREAMS = 256
# HTTP/2 frames: empty settings, and the GOAWAY of a server that ends in peace and has yet to see a stream.
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
GOAWAY = bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) + (2**31 - 1).to_bytes(4, "big") + bytes(4)


class Forwarder:
    """Forwards one TCP connection until `swallow`; from then on what comes goes nowhere, and no side is told.

    Before that it says goodbye to the first `leaves` connections as it greets them, as a server does that ends just
    then, and keeps them open. A context manager.
    """

    def __init__(self, target, leaves=0):
        host, _, port = target.rpartition(":")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._upstream = socket.create_connection((host, int(port)))
        self._leaves, self._swallows, self._open = leaves, False, [self._listening, self._upstream]
        self.ended = {"client": threading.Event(), "server": threading.Event()}
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self):
        self._swallows = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # ends the thread that reads it
            each.close()

    def _accept(self):
        for _ in range(self._leaves):
            left, _ = self._listening.accept()
            self._open.append(left)
            left.sendall(SETTINGS + GOAWAY)
        downstream, _ = self._listening.accept()
        self._open.append(downstream)
        for source, sink, side in ((downstream, self._upstream, "client"), (self._upstream, downstream, "server")):
            threading.Thread(target=self._pump, args=(source, sink, side), daemon=True).start()

    def _pump(self, source, sink, side):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._swallows:
                    sink.sendall(data)
        self.ended[side].set()


@pytest.fixture(scope="module")
def pinging(start_server):
    """A server that asks after a second whether a silent client lives, and gives it another to answer."""
    return start_server("--keepalive-seconds", "1", "--keepalive-timeout-seconds", "1", "--threads", "1")


def test_a_connection_that_a_network_forgot_is_given_up_by_both_sides(pinging):
    with (
        Forwarder(pinging.target) as forwarder,
        Client(forwarder.target, timeout=DEADLINE, keepalive=1) as client,
        client.session(**scene()) as session,
    ):
        session.score(candidates(), actions_are_normalized=False)
        forwarder.swallow()
        assert forwarder.ended["server"].wait(SOON)
        assert forwarder.ended["client"].wait(SOON)


def test_a_server_that_is_frozen_is_an_error_in_seconds(pinging):
    with Client(pinging.target, timeout=DEADLINE, keepalive=1) as client:
        client.model()
        os.kill(pinging.process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(UnavailableError):
                client.models()
            assert time.monotonic() - began < SOON
        finally:
            os.kill(pinging.process.pid, signal.SIGCONT)
        client.wait_ready(DEADLINE)


def test_pings_as_often_as_the_client_may_send_them_are_allowed(start_server):
    patient = start_server("--threads", "1")  # 2 s to answer a ping, since the machine is busy
    with Client(patient.target, timeout=DEADLINE, keepalive=2) as client, client.session(**scene()) as session:
        session.score(candidates(), actions_are_normalized=False)
        time.sleep(8)  # a server that allows fewer ends the connection after three pings
        session.score(candidates(), actions_are_normalized=False)
        assert session.reconnects == 0


def test_by_default_a_client_pings_no_more_than_every_server_allows():
    options = dict(channel_options("robot:50051"))
    assert options["grpc.keepalive_time_ms"] >= 300_000
    assert "grpc.keepalive_permit_without_calls" not in options


@pytest.mark.parametrize("keepalive", [0, 0.5, -1, float("nan"), "1"])
def test_a_keepalive_that_no_server_allows_is_refused_by_name(keepalive):
    with pytest.raises(InvalidArgumentError, match="keepalive"):
        Client("127.0.0.1:1", keepalive=keepalive)


def test_each_client_has_a_name_of_its_own_or_the_one_it_is_given():
    names = [dict(Credentials(affinity=given).call_metadata())[SESSION_METADATA] for given in (None, None, "robot")]
    assert len(set(names)) == 3
    assert names[2] == "robot"
    with pytest.raises(InvalidArgumentError, match="affinity"):
        Client("127.0.0.1:1", affinity="two words")


def test_an_old_connection_is_replaced_without_an_error(start_server):
    server = start_server("--max-connection-age-seconds", "0.5", "--threads", "1")
    states = []
    with Client(server.target, timeout=DEADLINE) as client, client.session(**scene()) as session:
        client._connection._channel.subscribe(states.append)
        began = time.monotonic()
        while time.monotonic() - began < 2:
            client.score(**scene(), **raw_candidates())
            session.score(candidates(), actions_are_normalized=False)
    assert states.count(grpc.ChannelConnectivity.READY) > 1


@pytest.mark.parametrize("leaves", [1, 2])
def test_a_server_that_says_goodbye_as_it_greets_is_left_for_another_connection(server, leaves):
    with Forwarder(server.target, leaves) as forwarder, Client(forwarder.target, timeout=SOON) as client:
        assert client.model().name == "tiny"


def test_a_connection_carries_a_bounded_number_of_calls_and_leaves_others_alone(server):
    with grpc.insecure_channel(server.target) as channel, Client(server.target, timeout=DEADLINE) as other:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        watches = [watch(health_pb2.HealthCheckRequest()) for _ in range(MAX_STREAMS)]
        for each in watches:
            next(each)
        late = watch(health_pb2.HealthCheckRequest())
        answered = threading.Event()
        threading.Thread(target=lambda: (next(late), answered.set()), daemon=True).start()
        assert not answered.wait(0.3)
        assert other.model().name == "tiny"
        watches[0].cancel()
        assert answered.wait(DEADLINE)


def test_too_much_metadata_is_not_called_a_large_message(server):
    metadata = [("x", "y" * 20_000)]
    with (
        Client(server.target, timeout=DEADLINE, metadata=metadata) as client,
        pytest.raises(ResourceExhaustedError) as e,
    ):
        client.model()
    assert e.value.reason == "METADATA_TOO_LARGE"


def test_the_proxy_of_the_environment_is_named_where_it_is_in_the_way(dead_target, monkeypatch):
    for name in ("no_proxy", "no_grpc_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://{dead_target}")
    with Client("robot.invalid:1", timeout=DEADLINE) as client, pytest.raises(UnavailableError, match="http_proxy"):
        client.model()
    monkeypatch.setenv("no_proxy", "10.1.1.1, .invalid")
    assert proxy_of("robot.invalid:1") == ""
