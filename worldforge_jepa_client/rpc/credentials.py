"""Credentials of a client: a token, certificates, metadata; checked before anything is sent."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.channel import environment, is_local
from worldforge_jepa_client.wire.metadata import SESSION_METADATA

SYSTEM_ROOTS = "system"
"""The `cacert` that stands for the certificate authorities that gRPC trusts by itself."""

VARIABLES = {
    "token": "WORLDFORGE_JEPA_TOKEN",
    "cacert": "WORLDFORGE_JEPA_CACERT",
    "cert": "WORLDFORGE_JEPA_CLIENT_CERT",
    "key": "WORLDFORGE_JEPA_CLIENT_KEY",
}
"""The environment's variable for each credential that is not given."""

Metadata = tuple[tuple[str, str | bytes], ...]
FilePath = str | os.PathLike[str]

_KEY = re.compile(r"[0-9a-z_.-]+")
_TEXT = re.compile(r"[ -~]*")
_VISIBLE = re.compile(r"[!-~]+")
_SESSION_BYTES = 8
_RESERVED = ("grpc-", ":")


@dataclass(frozen=True)
class Credentials:
    """A client's credentials, and the metadata of each of its calls.

    Attributes:
        token: sent as `authorization: Bearer TOKEN`.
        cacert: file of the certificates, PEM, that sign the server's, or "system"; with it the client speaks TLS.
        cert: file of the client's own certificate, PEM.
        key: file of its private key, PEM.
        metadata: pairs of key and value; bytes where the key ends in "-bin".
        affinity: names the client to the server and to proxies; None is a random name.
    """

    token: str | None = None
    cacert: FilePath | None = None
    cert: FilePath | None = None
    key: FilePath | None = None
    metadata: Iterable[tuple[str, str | bytes]] = ()
    affinity: str | None = None

    def keywords(self) -> dict[str, Any]:
        """Return the token and the files as keywords of `Client`."""
        return {"token": self.token, "cacert": self.cacert, "cert": self.cert, "key": self.key}

    def or_environment(self, target: str) -> Credentials:
        """Return these, each that is None from its variable in `VARIABLES`.

        Raises:
            InvalidArgumentError: the environment's token would travel to another host without TLS.
        """
        absent = [name for name in VARIABLES if getattr(self, name) is None]
        told: dict[str, Any] = {name: environment(VARIABLES[name]) for name in absent}
        found = replace(self, **told)
        if self.token is None and found.token and not (found.tls or is_local(target)):
            problem = f"{VARIABLES['token']} would be sent to {target} in the clear"
            raise invalid("token", f"{problem}; set cacert, or give the token, empty for none", Reason.INVALID_VALUE)
        return found

    @property
    def tls(self) -> bool:
        """True where the channel is to speak TLS."""
        return bool(self.cacert or self.cert or self.key)

    def call_metadata(self) -> Metadata:
        """Return the metadata of a call.

        Raises:
            InvalidArgumentError: an entry, the token or the affinity cannot travel as metadata.
        """
        pairs = (*(_checked_pair(pair) for pair in self.metadata), (SESSION_METADATA, self._session()))
        if not self.token:
            return pairs
        if not isinstance(self.token, str) or not _VISIBLE.fullmatch(self.token):
            raise invalid("token", "has characters that no header carries, or is no text", Reason.INVALID_VALUE)
        return (*pairs, ("authorization", f"Bearer {self.token}"))

    def _session(self) -> str:
        session = secrets.token_hex(_SESSION_BYTES) if self.affinity is None else self.affinity
        if not isinstance(session, str) or not _VISIBLE.fullmatch(session):
            raise invalid("affinity", "has characters that no header carries, or is no text", Reason.INVALID_VALUE)
        return session

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Return the credentials of a channel; None where it is not to speak TLS.

        Raises:
            InvalidArgumentError: a file cannot be read or holds something else, or one of certificate and key is
                missing.
        """
        if not self.tls:
            return None
        if bool(self.cert) != bool(self.key):
            given, missing = ("cert", "key") if self.cert else ("key", "cert")
            raise invalid(given, f"needs {missing} too", Reason.MISSING_FIELD)
        roots = None
        if self.cacert and str(self.cacert) != SYSTEM_ROOTS:
            roots = _read("cacert", self.cacert)
        chain = _read("cert", self.cert) if self.cert else None
        key = _read("key", self.key) if self.key else None
        self._check_content(roots)
        return grpc.ssl_channel_credentials(roots, key, chain)

    def _check_content(self, roots: bytes | None) -> None:
        import ssl  # takes 10 ms, which only TLS needs

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if roots is not None:
                context.load_verify_locations(cadata=roots.decode("ascii"))
        except (ssl.SSLError, ValueError):
            raise invalid("cacert", f"{self.cacert} holds no certificate in PEM", Reason.INVALID_VALUE) from None
        try:
            if self.cert and self.key:
                context.load_cert_chain(self.cert, self.key, password="")
        except ssl.SSLError:
            problem = f"{self.cert} and the key {self.key} are no certificate in PEM and its key without a password"
            raise invalid("cert", problem, Reason.INVALID_VALUE) from None


def _read(field: str, path: Any) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, TypeError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        raise invalid(field, f"cannot read {path}: {problem}", Reason.INVALID_VALUE) from None


def _checked_pair(pair: Any) -> tuple[str, str | bytes]:
    """Return one entry of the metadata; the message leaves out the value, which may be a secret."""
    try:
        key, value = pair
        binary = key.endswith("-bin")
        named = _KEY.fullmatch(key) and not key.startswith(_RESERVED)
        fits = named and (isinstance(value, bytes) if binary else _TEXT.fullmatch(value))
    except (TypeError, ValueError, AttributeError):
        raise invalid("metadata", "is no list of pairs (key, value)", Reason.INVALID_TYPE) from None
    if not fits:
        expected = "a lower-case key, and ASCII text, or bytes where the key ends in -bin"
        raise invalid(
            "metadata", f"has an entry {key!r} that cannot be sent; expected {expected}", Reason.INVALID_VALUE
        )
    return key, value
