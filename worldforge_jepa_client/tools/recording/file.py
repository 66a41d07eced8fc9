"""The file of a recording: a first line, then one `RecordedCall` behind the other, each behind its length as a varint.

It holds protobuf messages only, so reading one runs nothing. A file that was cut, by a crash or a full disk, is read up
to its last whole call.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from google.protobuf.message import DecodeError
from google.protobuf.proto import serialize_length_prefixed

from worldforge_jepa_client.errors import InvalidArgumentError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1.recording_pb2 import RecordedCall

if TYPE_CHECKING:
    from typing_extensions import Self

FIRST_LINE = b"worldforge-jepa recording 1\n"
_LENGTH_BYTES = 5
_MOST_LENGTH = 2**31 - 1
"""No protobuf message is longer."""


class Writer:
    """Appends calls to a new file until it has `limit` bytes; each is written whole before the next.

    Raises:
        FileExistsError: there is such a file.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self._file, self._left = path.open("xb"), limit - len(FIRST_LINE)
        self.calls, self.dropped = 0, 0
        self._write(FIRST_LINE)

    def add(self, call: RecordedCall) -> None:
        """Write a call; `dropped` counts those for which there is no room, and all behind the first of them."""
        entry = io.BytesIO()
        serialize_length_prefixed(call, entry)
        size = entry.tell()
        if self.dropped or size > self._left:
            self.dropped += 1
            return
        self._write(entry.getvalue())
        self._left -= size
        self.calls += 1

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read(path: Path) -> Iterator[RecordedCall]:
    """Yield the calls of a recording; what is left of one that was cut is passed over.

    Raises:
        InvalidArgumentError: the file is no recording, or damaged.
    """
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        if file.read(len(FIRST_LINE)) != FIRST_LINE:
            raise _malformed(f"{path} is no recording: its first line is another")
        while (length := _length(file, path)) is not None and length <= size - file.tell():
            yield _parsed(file.read(length), path)


def _length(file: IO[bytes], path: Path) -> int | None:
    """Return the length of the next call; None at the end."""
    length = 0
    for index in range(_LENGTH_BYTES):
        byte = file.read(1)
        if not byte:
            return None
        length |= (byte[0] & 0x7F) << (7 * index)
        if byte[0] < 0x80 and length <= _MOST_LENGTH:
            return length
    raise _malformed(f"{path} is damaged before byte {file.tell()}: no length of a call")


def _parsed(data: bytes, path: Path) -> RecordedCall:
    try:
        return RecordedCall.FromString(data)
    except DecodeError as error:
        raise _malformed(f"{path} is damaged: {error}") from None


def _malformed(problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(problem, reason=Reason.MALFORMED_MESSAGE)
