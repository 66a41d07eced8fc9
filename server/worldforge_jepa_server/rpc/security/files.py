"""The files that hold a server's credentials: read with clear errors, and compared for change by their status."""

from __future__ import annotations

from pathlib import Path

from worldforge_jepa_server.config import StartError

Stamp = tuple[tuple[int, int, int] | None, ...]
"""Changes when a file is written or replaced: inode, size and time of change of each, None for one that is missing."""


class CredentialsError(StartError):
    """A file of certificates, keys or tokens cannot be used."""


def stamp(*paths: str) -> Stamp:
    """Return the present stamp of files."""
    return tuple(_stamp(Path(path)) for path in paths if path)


def read(flag: str, path: str) -> bytes:
    """Return a file's bytes.

    Raises:
        CredentialsError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise CredentialsError(f"{flag} {path!r}: {getattr(error, 'strerror', None) or error}") from error


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
