"""numpy arrays to Tensor messages and back: the only file that knows bytes.

On the wire every array is row-major and little-endian. numpy has no bfloat16: it is decoded to the float32 of the
same value, and encoded from float32 (rounded to nearest even) or from an array whose dtype is named `bfloat16`. Where
ml_dtypes is installed it rounds, to the same bits about ten times as fast.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue
from numpy.typing import NDArray

from worldforge_jepa_client.contract import dtypes
from worldforge_jepa_client.errors import FailedPreconditionError, invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2

try:
    from ml_dtypes import bfloat16 as _BFLOAT16
except ImportError:
    _BFLOAT16 = None

_NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("uint8", "int32", "int64", "bool", "float16", "float32", "float64")
}
_WIRE_DTYPES = _NUMPY_DTYPES | {"bfloat16": np.dtype("<u2")}
_CODES: dict[str, Any] = {name: jepa_pb2.DataType.Value(f"DATA_TYPE_{name.upper()}") for name in _WIRE_DTYPES}
_NAMES = {code: name for name, code in _CODES.items()}
_MAX_RANK = 8
_MAX_DIM = 2**31 - 1


def dtype_code(name: str) -> jepa_pb2.DataType:
    """Return the DataType of a dtype's name."""
    code: jepa_pb2.DataType = _CODES[name]
    return code


def dtype_name(code: int) -> str:
    """Return a DataType's name, or "unknown (<code>)"."""
    return _NAMES.get(code, f"unknown ({code})")


def encode(array: NDArray[Any], message: jepa_pb2.Tensor, *, field: str = "tensor", dtype: str = "") -> None:
    """Fill `message` in place (a message handed over whole would be copied).

    Args:
        array: any shape and byte order, contiguous or not.
        message: the empty Tensor to fill.
        field: the name used in errors.
        dtype: send as this dtype instead of the array's own.

    Raises:
        InvalidArgumentError: the array's dtype has no counterpart on the wire.
    """
    name = dtype or dtypes.dtype_name(array.dtype)
    if name not in _CODES:
        raise invalid(field, f"dtype {name} cannot be sent; expected one of {', '.join(_CODES)}", Reason.INVALID_DTYPE)
    message.dtype = _CODES[name]
    message.shape.extend(array.shape)
    wire = _to_bfloat16(array) if name == "bfloat16" else array.astype(_WIRE_DTYPES[name], copy=False)
    message.data = wire.tobytes()


def decode(message: jepa_pb2.Tensor, *, field: str = "tensor") -> NDArray[Any]:
    """Return a read-only view of `message`'s bytes in native byte order (bfloat16 as float32).

    Everything is checked before anything is allocated.

    Raises:
        InvalidArgumentError: unknown dtype, impossible shape, or a byte length other than shape and dtype say.
        FailedPreconditionError: the bytes are in shared memory, and were not fetched.
    """
    if message.HasField("shared"):
        raise FailedPreconditionError(
            "is in shared memory, which this server does not read (--shared-memory is off); send it as data",
            reason=Reason.SHARED_MEMORY_OFF,
            field=field,
        )
    data = message.data
    name, shape = checked_layout(message, len(data), field=field)
    wire = np.frombuffer(data, dtype=_WIRE_DTYPES[name]).reshape(shape)
    if name == "bfloat16":
        return _from_bfloat16(wire)
    if name == "bool" and wire.size and wire.view(np.uint8).max() > 1:
        raise invalid(field, "bool data holds bytes other than 0 and 1", Reason.INVALID_VALUE)
    return wire if sys.byteorder == "little" else wire.astype(wire.dtype.newbyteorder("="))


def checked_layout(message: jepa_pb2.Tensor, length: int, *, field: str) -> tuple[str, tuple[int, ...]]:
    """Return `message`'s dtype and shape, if they are possible and need exactly `length` bytes.

    Raises:
        InvalidArgumentError: they are not, or do not.
    """
    name, shape = _checked_dtype(message, field), _checked_shape(message, field)
    expected = math.prod(shape) * _WIRE_DTYPES[name].itemsize
    if length != expected:
        raise invalid(
            field, f"data has {length} bytes; shape {shape} of {name} needs {expected}", Reason.DATA_LENGTH_MISMATCH
        )
    return name, shape


def _checked_dtype(message: jepa_pb2.Tensor, field: str) -> str:
    name = _NAMES.get(message.dtype)
    if name is None:
        told = message.dtype or "unset"
        raise invalid(field, f"dtype is {told}; expected one of {', '.join(_CODES)}", Reason.INVALID_DTYPE)
    return name


def byte_length(message: jepa_pb2.Tensor) -> int:
    """Return the bytes of `message`'s data, if it is well-formed; protobuf would copy the data to count it."""
    return math.prod(message.shape) * _WIRE_DTYPES[_NAMES[message.dtype]].itemsize


def tensors_in(message: Any, prefix: str = "") -> Iterator[tuple[str, jepa_pb2.Tensor]]:
    """Yield the tensors that a request has, each behind its field's dotted name."""
    for descriptor, value in message.ListFields():
        if isinstance(value, jepa_pb2.Tensor):
            yield f"{prefix}{descriptor.name}", value
        elif isinstance(value, (jepa_pb2.PlanningContext, jepa_pb2.Observation)):
            yield from tensors_in(value, f"{prefix}{descriptor.name}.")


def _checked_shape(message: jepa_pb2.Tensor, field: str) -> tuple[int, ...]:
    rank, shape = len(message.shape), tuple(message.shape[:_MAX_RANK])
    if rank > _MAX_RANK:
        problem = f"has {rank} dimensions; expected at most {_MAX_RANK}"
    elif shape and not 0 <= min(shape) <= max(shape) <= _MAX_DIM:
        problem = f"is {list(shape)}; every dimension must be from 0 to {_MAX_DIM}"
    else:
        return shape
    raise invalid(field, f"shape {problem}", Reason.INVALID_SHAPE)


def _to_bfloat16(array: NDArray[Any]) -> NDArray[np.uint16]:
    if array.dtype.name in ("bfloat16", "uint16"):  # the latter holds a bfloat16's bits
        return array.view(np.uint16).astype("<u2", copy=False)
    single = array.astype(np.float32, order="C", copy=False)
    return _round_by_hand(single) if _BFLOAT16 is None else single.astype(_BFLOAT16).view("<u2")


def _round_by_hand(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = array.view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet_nan = (bits >> 16) | 0x40
    return np.where(np.isnan(array), quiet_nan, rounded).astype("<u2")


def _from_bfloat16(wire: NDArray[Any]) -> NDArray[np.float32]:
    # Of a scalar the shift makes no array, and numpy 1 would make it of int64.
    widened = np.asarray(np.left_shift(wire, 16, dtype=np.uint32)).view(np.float32)
    widened.flags.writeable = False
    return widened


def encode_floats(values: NDArray[np.float32], message: Message) -> None:
    """Fill field 1 of `message`, a `repeated float`, with [S] values at once; protobuf takes them one by one.

    On the wire such a field is bytes with a tag and a length, as the only field of a BytesValue is.
    """
    message.MergeFromString(BytesValue(value=values.astype("<f4", copy=False).tobytes()).SerializeToString())


def decode_floats(message: Message) -> NDArray[np.float32]:
    """Read what `encode_floats` filled: [S]."""
    data = BytesValue.FromString(message.SerializeToString()).value
    return np.frombuffer(data, "<f4").astype(np.float32)
