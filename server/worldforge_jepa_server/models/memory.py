"""Out-of-memory errors of torch and Python, recognized."""

from __future__ import annotations

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the host or the device had no memory left; torch says so of CPU and mps in words only."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("DefaultCPUAllocator", "MPS backend out of memory"))
    )
