"""glibc's malloc in a process that takes and drops large messages.

By default it hands what was freed back to the system and fetches it again for the next message, page by page.
"""

from __future__ import annotations

import ctypes

# From glibc's malloc.h; man 3 mallopt.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES, _HEAP_BYTES = 1 << 30, 32 << 20


def tune_malloc() -> str:
    """Keep up to 1 GiB of freed memory, and take blocks of up to 32 MiB, glibc's most, from it.

    Returns:
        What is in force, for the log.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return "not glibc's, left as it is"
    settings = {_M_TRIM_THRESHOLD: _KEPT_BYTES, _M_MMAP_THRESHOLD: _HEAP_BYTES}
    if not all(libc.mallopt(name, value) for name, value in settings.items()):
        return "glibc's, which refused to be tuned"
    return f"glibc's, keeps {_KEPT_BYTES >> 20} MiB of what is freed, maps blocks above {_HEAP_BYTES >> 20} MiB"


def trim_malloc() -> None:
    """Return freed memory to the system, after work that does not recur, such as loading a model."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
