"""Tensors of the Open Inference Protocol to numpy arrays and back, raw or typed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors


class _Datatype(NamedTuple):
    """The dtype of a datatype, and the field of its typed contents; empty where it can only be sent raw."""

    dtype: str
    contents: str


_DATATYPES = {
    "BOOL": _Datatype("bool", "bool_contents"),
    "UINT8": _Datatype("uint8", "uint_contents"),
    "INT32": _Datatype("int32", "int_contents"),
    "INT64": _Datatype("int64", "int64_contents"),
    "FP16": _Datatype("float16", ""),
    "FP32": _Datatype("float32", "fp32_contents"),
    "FP64": _Datatype("float64", "fp64_contents"),
    "BF16": _Datatype("bfloat16", ""),
}
_NAMES = {datatype.dtype: name for name, datatype in _DATATYPES.items()}


def datatype(dtype: str) -> str:
    """Return the protocol's name of a dtype."""
    return _NAMES[dtype]


def decode(tensor: Any, raw: bytes | None) -> NDArray[Any]:
    """Return an input's elements, from `raw` or else from its typed contents.

    Raises:
        InvalidArgumentError: an unknown datatype, contents of another one, or of another size than the shape's.
    """
    kind = _DATATYPES.get(tensor.datatype)
    if kind is None:
        problem = f"has datatype {tensor.datatype!r}; expected one of {', '.join(_DATATYPES)}"
        raise invalid(tensor.name, problem, Reason.INVALID_DTYPE)
    data = _typed(tensor, kind) if raw is None else raw
    message = jepa_pb2.Tensor(dtype=tensors.dtype_code(kind.dtype), shape=tensor.shape, data=data)
    return tensors.decode(message, field=tensor.name)


def encode(array: NDArray[Any], name: str, response: Any, *, raw: bool) -> None:
    """Add an output to a response, its elements raw or typed."""
    kind = _DATATYPES[datatype(array.dtype.name)]
    output = response.outputs.add(name=name, datatype=datatype(array.dtype.name), shape=array.shape)
    if raw:
        response.raw_output_contents.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    else:
        getattr(output.contents, kind.contents).extend(array.ravel().tolist())


def _typed(tensor: Any, kind: _Datatype) -> bytes:
    """Return the bytes of typed contents."""
    filled = [descriptor.name for descriptor, _ in tensor.contents.ListFields()]
    if filled != [kind.contents]:
        expected = kind.contents or "raw_input_contents"
        problem = f"of {tensor.datatype} has its elements in {', '.join(filled) or 'no field'}; expected {expected}"
        raise invalid(tensor.name, problem, Reason.INVALID_DTYPE)
    values = np.array(getattr(tensor.contents, kind.contents))
    if kind.dtype == "uint8" and values.max() > 255:
        raise invalid(tensor.name, f"of UINT8 has the element {values.max()}; expected 0 to 255", Reason.INVALID_VALUE)
    return values.astype(np.dtype(kind.dtype).newbyteorder("<")).tobytes()
