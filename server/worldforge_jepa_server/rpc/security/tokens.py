"""Tokens: bearers of a file's tokens may call the server, each with all its models or with those the file names."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Iterable
from typing import Any

from worldforge_jepa_client.errors import UnauthenticatedError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.rpc.security.files import CredentialsError, read, stamp
from worldforge_jepa_server.runtime.access import Principal

_log = logging.getLogger(__name__)

_KEY, _SCHEME = "authorization", "bearer"
_LEAST_LENGTH = 16
_TOKEN = re.compile(r"[!-~]+")  # what a header carries
_LINE = "NAME TOKEN [MODEL,MODEL...]"


class Tokens:
    """The tokens of a file, read again when it changes; of a file that cannot be used then, the last ones stay.

    A line of the file is `NAME TOKEN [MODEL,MODEL...]`; a # begins a comment.

    Raises:
        CredentialsError: the file cannot be read, or a line is malformed.
    """

    def __init__(self, path: str) -> None:
        self._path, self._stamp = path, stamp(path)
        self._principals = _parse(path)

    def authenticate(self, metadata: Iterable[Any] | None) -> Principal:
        """Return the bearer of the token in a call's metadata.

        Raises:
            UnauthenticatedError: there is none, or the file does not have it.
        """
        self._refresh()
        values = [value for key, value in metadata or () if key == _KEY]
        scheme, _, token = str(values[0]).partition(" ") if values else ("", "", "")
        if scheme.lower() != _SCHEME:
            raise UnauthenticatedError(
                "this server needs a token, as metadata `authorization: Bearer TOKEN`", reason=Reason.NO_TOKEN
            )
        digest, found = _digest(token.strip()), None
        for known, principal in self._principals:  # each, so that the time says nothing
            if hmac.compare_digest(known, digest):
                found = principal
        if found is None:
            raise UnauthenticatedError("the token is not one of this server's", reason=Reason.INVALID_TOKEN)
        return found

    def _refresh(self) -> None:
        now = stamp(self._path)
        if now == self._stamp:
            return
        self._stamp = now
        try:
            self._principals = _parse(self._path)
        except CredentialsError as error:
            _log.error("the tokens changed and cannot be used, the last ones stay: %s", error)
        else:
            _log.info("the tokens changed: %s", ", ".join(each.name for _, each in self._principals))


def _parse(path: str) -> list[tuple[bytes, Principal]]:
    try:
        text = read("--token-file", path).decode()
    except UnicodeDecodeError:
        raise CredentialsError(f"--token-file {path!r} is not UTF-8 text") from None
    lines = [(number, line.partition("#")[0].split()) for number, line in enumerate(text.splitlines(), 1)]
    found = [_principal(words, f"--token-file {path!r}, line {number}") for number, words in lines if words]
    if not found:
        raise CredentialsError(f"--token-file {path!r} has no token; expected lines of {_LINE}")
    for what, values in (("name", [each.name for _, each in found]), ("token", [digest for digest, _ in found])):
        if len(set(values)) < len(values):
            raise CredentialsError(f"--token-file {path!r}: two lines have the same {what}")
    return found


def _principal(words: list[str], place: str) -> tuple[bytes, Principal]:
    if len(words) not in (2, 3):
        raise CredentialsError(f"{place}: has {len(words)} words; expected {_LINE}")
    name, token, *models = words
    if len(token) < _LEAST_LENGTH or not _TOKEN.fullmatch(token):
        raise CredentialsError(f"{place}: the token of {name} needs at least {_LEAST_LENGTH} ASCII characters")
    return _digest(token), Principal(name, frozenset(models[0].split(",")) if models else None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
