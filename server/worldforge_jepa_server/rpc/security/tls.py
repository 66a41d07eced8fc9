"""TLS: certificates that are checked when they are read, and read again when their files change."""

from __future__ import annotations

import logging
import ssl

import grpc

from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.rpc.security.files import CredentialsError, read, stamp

_log = logging.getLogger(__name__)


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """Return the credentials of a server's port; None without TLS.

    A file that changes is read again at the next handshake. One that cannot be used then is logged, and the last good
    ones stay.

    Raises:
        CredentialsError: a file cannot be used.
    """
    if not config.tls_cert:
        return None
    certificates = _Certificates(config.tls_cert, config.tls_key, config.tls_client_ca)
    return grpc.dynamic_ssl_server_credentials(
        certificates.read(),
        certificates.changed,  # type: ignore[arg-type]  # gRPC takes None for no change
        require_client_authentication=bool(config.tls_client_ca),
    )


class _Certificates:
    def __init__(self, cert: str, key: str, client_ca: str) -> None:
        self._paths = cert, key, client_ca
        self._stamp = stamp(*self._paths)

    def read(self) -> grpc.ServerCertificateConfiguration:
        cert, key, client_ca = self._paths
        pair = read("--tls-key", key), read("--tls-cert", cert)
        roots = read("--tls-client-ca", client_ca) if client_ca else None
        _check(cert, key, client_ca)
        return grpc.ssl_server_certificate_configuration([pair], roots)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what to use from this handshake on, or None for no change; called by threads of gRPC."""
        now = stamp(*self._paths)
        if now == self._stamp:
            return None
        self._stamp = now
        try:
            found = self.read()
        except CredentialsError as error:
            _log.error("the TLS files changed and cannot be used, the last ones stay: %s", error)
            return None
        _log.info("the TLS files changed and are in use")
        return found


def _check(cert: str, key: str, client_ca: str) -> None:
    """Raise CredentialsError where certificate and key are no pair, or not valid now."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(cert, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise CredentialsError(f"--tls-cert {cert!r} and --tls-key {key!r} are no pair: {_words(error)}") from error
    try:
        _shake_hands(server, _trusting(cert))
    except ssl.SSLError as error:
        raise CredentialsError(f"--tls-cert {cert!r}: {_words(error)}") from error
    if client_ca:
        try:
            _trusting(client_ca)
        except ssl.SSLError as error:
            raise CredentialsError(f"--tls-client-ca {client_ca!r}: {_words(error)}") from error


def _trusting(path: str) -> ssl.SSLContext:
    """Return a client's context that trusts a file's certificates, whatever name they have."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(path)
    return client


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Shake hands in memory: raises where a client would refuse the certificate, such as one that has expired."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


def _words(error: OSError) -> str:
    """Return OpenSSL's words for an error, without its place in the source."""
    words = getattr(error, "verify_message", "") or (error.strerror or str(error))
    return words.partition(" (_ssl.c")[0]
