"""JSON to Struct messages and back.

Struct is slow in Python, and what a server adds to its scores is nearly always the same: small ones are converted once
and remembered, as text or bytes, so that no two callers share an object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct

from worldforge_jepa_client.errors import OutOfRangeError, invalid
from worldforge_jepa_client.reasons import Reason

_MAX_BYTES = 1 << 20
_SMALL = 4096  # bytes; what is larger is not remembered


def fill_struct(struct: Struct, value: Mapping[str, Any], field: str) -> None:
    """Fill an empty Struct from JSON.

    Raises:
        InvalidArgumentError: `value` is not JSON, or nested deeper than protobuf reads.
    """
    try:
        text = json.dumps(dict(value))
        struct.MergeFromString((_remembered_bytes if len(text) <= _SMALL else _to_bytes)(text))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _not_json(field, error) from error
    except DecodeError as error:
        raise invalid(field, "is nested too deep", Reason.NESTED_TOO_DEEP) from error


def struct_dict(struct: Struct, field: str) -> dict[str, Any]:
    """Decode a Struct; JSON has no NaN, so neither may it.

    A Struct holds floats alone: those without a fraction come back as ints.

    Raises:
        InvalidArgumentError: it has.
        OutOfRangeError: it is larger than 1 MiB; decoding takes a second for each.
    """
    data = struct.SerializeToString()
    if not data:
        return {}
    if len(data) > _MAX_BYTES:
        problem = f"has {len(data)} bytes; expected at most {_MAX_BYTES}"
        raise OutOfRangeError(problem, reason=Reason.LIMIT_EXCEEDED, field=field)
    try:
        text = (_remembered_text if len(data) <= _SMALL else _to_text)(data)
        value: dict[str, Any] = _DECODER.decode(text)
    except (json_format.Error, ValueError) as error:
        raise _not_json(field, error) from error
    return value


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number


_DECODER = json.JSONDecoder(parse_float=_number)


def _to_bytes(text: str) -> bytes:
    struct = Struct()
    struct.update(json.loads(text))
    return struct.SerializeToString()


def _to_text(data: bytes) -> str:
    return json.dumps(json_format.MessageToDict(Struct.FromString(data)))


_remembered_bytes = lru_cache(maxsize=64)(_to_bytes)
_remembered_text = lru_cache(maxsize=64)(_to_text)


def _not_json(field: str, error: Exception) -> Exception:
    return invalid(field, f"is not JSON: {error}", Reason.NOT_JSON)
