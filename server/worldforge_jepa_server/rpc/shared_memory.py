"""Tensors that clients on this host share: copied out of their segments before they are decoded. Linux only.

Copied by reading: a client that truncates its segment makes a read short, and would kill a server that had it mapped.
"""

from __future__ import annotations

import os
import re
import stat
from functools import partial
from typing import Any

from worldforge_jepa_client.errors import FailedPreconditionError, ResourceExhaustedError, invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.shm.segments import FOLDER, PREFIX, TOKEN_BYTES
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.rpc.intake import Parse, Request, parse

_NAME = re.compile(f"{PREFIX}[0-9a-f]{{{2 * TOKEN_BYTES}}}")


def parser(config: ServerConfig) -> Parse:
    """Return the parser of a server's requests; with shared memory on, it also fetches their shared tensors."""
    return partial(_parse, config.max_message_bytes) if config.shared_memory else parse


def _parse(max_bytes: int, data: bytes, message_class: type[Any]) -> Request[Any]:
    message = parse(data, message_class).message
    shared = [(field, tensor) for field, tensor in tensors.tensors_in(message) if tensor.HasField("shared")]
    total = len(data) + sum(tensor.shared.length for _, tensor in shared)
    if shared and total > max_bytes:
        raise ResourceExhaustedError(
            f"the request has {total} bytes with what it shares; the limit is {max_bytes}",
            reason=Reason.MESSAGE_TOO_LARGE,
        )
    for field, tensor in shared:
        _fetch(tensor, field)
    return Request(message, total)


def _fetch(tensor: jepa_pb2.Tensor, field: str) -> None:
    """Copy a shared tensor's bytes into the message.

    Raises:
        InvalidArgumentError: it has data as well, is of another size, or names no segment or more than that has.
        FailedPreconditionError: no segment of this server's user has the name.
    """
    if tensor.data:
        raise invalid(field, "has both data and shared; expected one of them", Reason.CONFLICTING_FIELDS)
    tensors.checked_layout(tensor, tensor.shared.length, field=field)
    tensor.data = _read(tensor.shared, f"{field}.shared")
    tensor.ClearField("shared")


def _read(place: jepa_pb2.SharedMemory, field: str) -> bytes:
    if not _NAME.fullmatch(place.name):
        expected = f"{PREFIX} and {2 * TOKEN_BYTES} hexadecimal digits"
        raise invalid(f"{field}.name", f"is {place.name[:80]!r}; expected {expected}", Reason.INVALID_VALUE)
    descriptor = _open(place.name, f"{field}.name")
    try:
        size = os.fstat(descriptor).st_size
        fits = place.offset + place.length <= size
        data = os.pread(descriptor, place.length, place.offset) if fits else b""
    finally:
        os.close(descriptor)
    if len(data) < place.length:  # or it was cut meanwhile
        problem = f"names {place.length} bytes from {place.offset} of a segment that has {size}"
        raise invalid(field, problem, Reason.SEGMENT_TOO_SHORT)
    return data


def _open(name: str, field: str) -> int:
    try:
        # A symbolic link is not followed, and a pipe does not block.
        descriptor = os.open(FOLDER / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        raise _missing(name, field) from None
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    raise _missing(name, field)


def _missing(name: str, field: str) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"{name} is no file of this server's user in its {FOLDER}; send the tensor as data",
        reason=Reason.SEGMENT_NOT_FOUND,
        field=field,
    )
