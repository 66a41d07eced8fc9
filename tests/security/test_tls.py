"""TLS: certificates that are checked, asked of clients, and replaced while the server runs."""

import asyncio
from pathlib import Path

import grpc
import pytest
import trustme

from tests.security import certificates
from tests.security.certificates import LONG_AGO
from tests.support.in_process import DEADLINE, running
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import UnavailableError
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.rpc.security import tls
from worldforge_jepa_server.rpc.security.files import CredentialsError


@pytest.fixture
def files(tmp_path):
    return certificates.make(tmp_path)


async def model_name(target, **credentials):
    async with AsyncClient(target, timeout=DEADLINE, **credentials) as client:
        return (await client.model()).name


async def failure(target, **credentials):
    """The error of a call that must fail."""
    with pytest.raises(UnavailableError) as caught:
        await model_name(target, **credentials)
    return caught.value


async def test_a_client_that_trusts_the_ca_is_served(files):
    cert, key = files.pair("server")
    async with running(tls_cert=cert, tls_key=key) as server:
        assert await model_name(server.target, cacert=files.cacert) == "tiny"
        assert await model_name(server.target, cacert=Path(files.cacert)) == "tiny"


async def test_each_handshake_that_fails_says_why_in_one_line(files):
    cert, key = files.pair("server")
    other = trustme.CA()
    other_cacert = files.folder / "other.pem"
    other.cert_pem.write_to_path(str(other_cacert))
    async with running(tls_cert=cert, tls_key=key) as server:
        untrusted = await failure(server.target, cacert=other_cacert)
        assert untrusted.reason == "TLS_FAILED"
        assert str(untrusted) == f"{server.target}: TLS failed: unable to get local issuer certificate"
        name = [("grpc.ssl_target_name_override", "robot.example")]
        misnamed = await failure(server.target, cacert=files.cacert, options=name)
        assert "the server's certificate is for another name than the target's" in str(misnamed)
        bare = await failure(server.target)
        assert bare.reason == "TLS_FAILED"
        assert str(bare).startswith(f"{server.target}: the server closed the connection at once: it may speak TLS")
    async with running() as plain:
        assert "the server does not speak TLS" in str(await failure(plain.target, cacert=files.cacert))


async def test_a_certificate_that_has_expired_is_named_to_the_client(files):
    files.pair("old", not_after=LONG_AGO)
    server = grpc.aio.server()
    credentials = grpc.ssl_server_credentials([(files.read("old.key"), files.read("old.pem"))])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    error = await failure(f"127.0.0.1:{port}", cacert=files.cacert)
    await server.stop(None)
    assert str(error) == f"127.0.0.1:{port}: TLS failed: certificate has expired"


async def test_a_server_with_a_client_ca_serves_only_clients_with_its_certificates(files):
    cert, key = files.pair("server")
    mine, my_key = files.pair("robot")
    foreign, foreign_key = files.pair("foreign", ca=trustme.CA())
    async with running(tls_cert=cert, tls_key=key, tls_client_ca=files.cacert) as server:
        assert await model_name(server.target, cacert=files.cacert, cert=mine, key=my_key) == "tiny"
        assert "set cert and key" in str(await failure(server.target, cacert=files.cacert))
        await failure(server.target, cacert=files.cacert, cert=foreign, key=foreign_key)


async def test_new_certificates_are_used_without_a_restart(files, caplog):
    cert, key = files.pair("server")
    next_ca = trustme.CA()
    next_cacert = files.folder / "next.pem"
    next_ca.cert_pem.write_to_path(str(next_cacert))
    async with running(tls_cert=cert, tls_key=key) as server, AsyncClient(server.target, cacert=files.cacert) as open_:
        await open_.model()
        files.write("server.pem", "half a file")
        assert await model_name(server.target, cacert=files.cacert) == "tiny"
        assert "cannot be used, the last ones stay" in caplog.text
        files.pair("server", ca=next_ca)
        assert await asyncio.wait_for(model_name(server.target, cacert=next_cacert), DEADLINE) == "tiny"
        assert (await failure(server.target, cacert=files.cacert)).reason == "TLS_FAILED"
        assert (await open_.model()).name == "tiny"  # on the connection that it has


@pytest.mark.parametrize(
    ("cert", "key", "client_ca", "expected"),
    [
        ("server.pem", "nope", "", "--tls-key '.*nope': No such file or directory"),
        ("nope", "server.key", "", "--tls-cert '.*nope': No such file or directory"),
        ("server.pem", "old.key", "", "are no pair: .*key values mismatch"),
        ("tokens", "server.key", "", "are no pair"),
        ("old.pem", "old.key", "", "--tls-cert '.*old.pem': certificate has expired"),
        ("server.pem", "server.key", "tokens", "--tls-client-ca '.*tokens': .*no certificate"),
    ],
)
def test_files_that_cannot_be_used_are_named_before_the_server_starts(files, cert, key, client_ca, expected):
    files.pair("server")
    files.pair("old", not_after=LONG_AGO)
    cert, key, client_ca = (str(files.folder / name) if name else "" for name in (cert, key, client_ca))
    with pytest.raises(CredentialsError, match=expected):
        tls.server_credentials(ServerConfig(tls_cert=cert, tls_key=key, tls_client_ca=client_ca))
