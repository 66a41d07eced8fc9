"""Large tensors of requests in shared memory, for a server on the same host: the client's side. Linux only.

A segment is a file in /dev/shm that only its user may open, locked (flock) for as long as its client lives. A
segment that can be locked may be removed: its client has ended.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.wire import tensors

if sys.platform == "linux":
    import fcntl

FOLDER = Path("/dev/shm")  # noqa: S108 - names in it are unguessable, and only their user may open them
PREFIX = "worldforge-jepa-"
TOKEN_BYTES = 16
SMALLEST = 256 * 1024
"""The size in bytes from which sharing a tensor is quicker than sending it."""

_MOST_FREE = 4


class Segment:
    """A file in shared memory, which is removed when the object is collected, and when the process exits.

    Raises:
        OSError: there is no room for so many bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.name, descriptor = _create()
        self.remove = weakref.finalize(self, _remove, self.name, os.getpid())
        try:
            os.posix_fallocate(descriptor, 0, size)  # or else writing, where memory is full, would kill the process
            self._memory = mmap.mmap(descriptor, size)  # with a duplicate of the descriptor, so that the lock stays
        finally:
            os.close(descriptor)

    def take(self, large: list[Any]) -> None:
        """Move the data of Tensor messages into the segment."""
        offset = 0
        for tensor in large:
            length = tensors.byte_length(tensor)
            self._memory[offset : offset + length] = tensor.data
            tensor.shared.name, tensor.shared.offset, tensor.shared.length = self.name, offset, length
            tensor.ClearField("data")
            offset += length


class Segments:
    """The segments of one client, each used by one request at a time. Thread-safe.

    Only an answer says that the server will not read a segment any more. That of a request that ended without one is
    removed, not used again.

    Raises:
        InvalidArgumentError: this system has no such memory.
    """

    def __init__(self) -> None:
        if sys.platform != "linux":
            raise invalid("shared_memory", f"is for Linux; this is {sys.platform}", Reason.SHARED_MEMORY_UNSUPPORTED)
        sweep()
        self._lock, self._closed = threading.Lock(), False
        self._free: list[Segment] = []

    def share(self, request: Any) -> Segment | None:
        """Move a request's large tensors into a segment; where there is no room for them they stay in the request."""
        large = [tensor for _, tensor in tensors.tensors_in(request) if tensors.byte_length(tensor) >= SMALLEST]
        if not large:
            return None
        try:
            segment = self._unused(sum(map(tensors.byte_length, large)))
        except OSError:
            return None
        segment.take(large)
        return segment

    def answered(self, segment: Segment | None) -> None:
        """Keep the segment of an answered request, from `share`, for the next one."""
        with self._lock:
            if segment and not self._closed and len(self._free) < _MOST_FREE:
                self._free.append(segment)

    @contextlib.contextmanager
    def sharing(self, request: Any) -> Iterator[None]:
        """`share` a request for as long as its call takes."""
        segment = self.share(request)
        try:
            yield
        except BaseException:
            if segment:  # which the error's traceback may hold for long
                segment.remove()
            raise
        self.answered(segment)

    def close(self) -> None:
        """Remove the free segments now, and the others when they are answered."""
        with self._lock:
            self._closed = True
            self._free.clear()

    def _unused(self, size: int) -> Segment:
        with self._lock:
            free = self._free.pop() if self._free else None
        return free if free and free.size >= size else Segment(size)


def sweep() -> None:
    """Remove the segments of clients that were killed."""
    for path in FOLDER.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, of another user, or gone meanwhile
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)


def _create() -> tuple[str, int]:
    while True:
        name = PREFIX + secrets.token_hex(TOKEN_BYTES)
        descriptor = os.open(FOLDER / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)  # swept before it was locked


def _remove(name: str, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork's copy
        (FOLDER / name).unlink(missing_ok=True)
