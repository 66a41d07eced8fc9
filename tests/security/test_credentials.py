"""A client's credentials are checked before anything is sent, and never printed."""

import grpc
import pytest

from tests.security import certificates
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.errors import InvalidArgumentError
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_client.rpc.credentials import VARIABLES, Credentials
from worldforge_jepa_server.config import ConfigError, ServerConfig


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    files = certificates.make(tmp_path_factory.mktemp("files"))
    files.pair("one")
    files.pair("two")
    return files


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"cacert": "nope"}, "cacert", "cannot read .*nope: No such file or directory"),
        ({"cacert": "tokens"}, "cacert", "holds no certificate in PEM"),
        ({"cert": "one.pem"}, "cert", "needs key too"),
        ({"key": "one.key"}, "key", "needs cert too"),
        ({"cert": "one.pem", "key": "two.key"}, "cert", "are no certificate in PEM and its key"),
        ({"cert": "nope", "key": "two.key"}, "cert", "cannot read"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_files_that_cannot_be_used_are_named(files, kind, given, field, expected):
    with pytest.raises(InvalidArgumentError, match=expected) as caught:
        kind("localhost:1", **{name: files.folder / path for name, path in given.items()})
    assert caught.value.field == field


@pytest.mark.parametrize(
    "metadata",
    ["text", [("a",)], [("A", "x")], [("a", b"x")], [("a-bin", "x")], [("grpc-a", "x")], [("a", "x\n")], [1]],
)
def test_metadata_that_cannot_be_sent_is_refused(metadata):
    with pytest.raises(InvalidArgumentError) as caught:
        Client("localhost:1", metadata=metadata)
    assert caught.value.field == "metadata"


def test_a_token_that_no_header_carries_is_refused_without_being_printed():
    for token in ("sec ret", "secret\n", "sécret"):
        with pytest.raises(InvalidArgumentError) as caught:
            Client("localhost:1", token=token)
        assert "ret" not in str(caught.value)


def test_metadata_and_token_travel_with_every_call(server):
    with Client(server.target, metadata=[("robot", "arm"), ("trace-bin", b"\x00")], token="x") as client:
        assert client.model().name == "tiny"


def test_a_channel_of_the_caller_is_used_and_closed(server, dead_target):
    channel = grpc.insecure_channel(server.target)
    with Client(dead_target, channel=channel) as client:
        assert client.model().name == "tiny"
    with pytest.raises(ValueError, match="closed"):
        channel.unary_unary("/x")(b"")


async def test_an_asyncio_channel_of_the_caller_is_used(server, dead_target):
    async with AsyncClient(dead_target, channel=grpc.aio.insecure_channel(server.target)) as client:
        assert (await client.model()).name == "tiny"


def test_the_environment_fills_what_is_not_given(monkeypatch):
    for name, variable in VARIABLES.items():
        monkeypatch.setenv(variable, f" {name} ")
    assert Credentials().or_environment("robot:1").keywords() == {name: name for name in VARIABLES}
    given = Credentials(token="other", cacert="").or_environment("robot:1")
    assert (given.token, given.cacert, given.key) == ("other", "", "key")


@pytest.mark.parametrize("kind", [Client, GrpcRuntime])
def test_clients_and_providers_read_the_environment(monkeypatch, secured_server, credentials, kind):
    monkeypatch.setenv("WORLDFORGE_JEPA_TOKEN", certificates.TOKENS["arm"])
    monkeypatch.setenv("WORLDFORGE_JEPA_CACERT", credentials.cacert)
    with kind(secured_server.target) as made:
        assert getattr(made, "client", made).model().name == "tiny"


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_of_the_environment_goes_to_no_other_host_in_the_clear(monkeypatch, kind):
    monkeypatch.setenv("WORLDFORGE_JEPA_TOKEN", "secret")
    with pytest.raises(InvalidArgumentError, match="WORLDFORGE_JEPA_TOKEN would be sent to robot:1 in the clear"):
        kind("robot:1")
    for local in ("127.0.0.1:1", "localhost:1", "unix:/x"):
        kind(local)
    for told in ({"cacert": "system"}, {"token": "secret"}, {"token": ""}):
        kind("robot:1", **told)


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "robot:1", "10.0.0.1:1", "unixbox:1", "localhosts:1"])
def test_an_address_beyond_this_machine_needs_tls_tokens_or_insecure(listen):
    with pytest.raises(ConfigError, match="is not loopback: set --tls-cert"):
        ServerConfig(listen=listen)
    for safe in ({"insecure": True}, {"token_file": "t"}, {"tls_cert": "c", "tls_key": "k"}):
        assert ServerConfig(listen=listen, **safe).listen == listen


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/x", "unix-abstract:x"]
)
def test_loopback_needs_none(listen):
    assert ServerConfig(listen=listen).listen == listen


@pytest.mark.parametrize("given", ["tls_cert", "tls_key", "tls_client_ca"])
def test_certificate_and_key_come_together(given):
    with pytest.raises(ConfigError, match="needs --tls") as caught:
        ServerConfig(**{given: "x"})
    assert caught.value.field == given
