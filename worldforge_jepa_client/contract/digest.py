"""The digest of arrays: the key under which a scene's latents and context are cached."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def content_digest(arrays: Mapping[str, NDArray[Any] | None]) -> bytes:
    """Return the sha256 of names, dtypes, shapes and values, in the order of the names; None is as good as absent.

    SHA-256 is two to three times as fast as BLAKE2 where the CPU has instructions for it.
    """
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        if array is not None:
            digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.digest()
