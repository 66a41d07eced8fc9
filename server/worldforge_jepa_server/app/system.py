"""Platform features with their fallbacks: glibc's allocator, file locks, Unix sockets."""

from __future__ import annotations

import ctypes
import gc
import socket
import sys

try:
    import fcntl
except ImportError:  # Windows
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

# From glibc's malloc.h; man 3 mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES, _HEAP_BYTES, _HEAPS = 1 << 30, 32 << 20, 2

UNIX_SOCKETS = hasattr(socket, "AF_UNIX")


def tune_malloc() -> str:
    """Keep up to 1 GiB of freed memory, and take blocks of up to 32 MiB, glibc's most, from it.

    By default glibc hands what was freed back to the system, and fetches it again for the next large message. It has
    eight heaps a core, in which long use leaves holes that are never returned; here all threads share two.

    Returns:
        What is in force, for the log.
    """
    libc = _glibc()
    if libc is None:
        return "not glibc's, left as it is"
    settings = {_M_TRIM_THRESHOLD: _KEPT_BYTES, _M_MMAP_THRESHOLD: _HEAP_BYTES, _M_ARENA_MAX: _HEAPS}
    if not all(libc.mallopt(name, value) for name, value in settings.items()):
        return "glibc's, which refused to be tuned"
    return f"glibc's, keeps {_KEPT_BYTES >> 20} MiB of what is freed, maps blocks above {_HEAP_BYTES >> 20} MiB"


def trim_malloc() -> None:
    """Return freed memory to the system, after work that does not recur and where the server rests."""
    gc.collect()
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def lock(descriptor: int) -> None:
    """Wait for the lock of an open file or folder; where the system has none, return at once."""
    if HAS_LOCKS:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library of this process where it is glibc's."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
