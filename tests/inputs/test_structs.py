"""JSON in a Struct: every value survives, and no two callers share an object."""

import math

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import JSON
from worldforge_jepa_client.errors import InvalidArgumentError, OutOfRangeError
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import json_struct, tensors
from worldforge_jepa_client.wire.latents import unroll_call


def struct(value):
    filled = Struct()
    json_struct.fill_struct(filled, value, "metadata")
    return filled


@given(st.dictionaries(st.text(), JSON))
def test_any_json_survives(value):
    assert json_struct.struct_dict(struct(value), "metadata") == value


@pytest.mark.parametrize("size", [1, 10_000])  # remembered, and too large for it
def test_mutating_a_decoded_struct_does_not_affect_other_callers(size):
    filled = struct({"notes": ["x"] * size})
    json_struct.struct_dict(filled, "metadata")["notes"].clear()
    assert json_struct.struct_dict(filled, "metadata") == {"notes": ["x"] * size}


def test_equal_values_of_other_types_are_told_apart():
    assert json_struct.struct_dict(struct({"flag": 1}), "metadata")["flag"] is not True
    assert json_struct.struct_dict(struct({"flag": True}), "metadata")["flag"] is True


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_values_outside_json_are_refused(number):
    with pytest.raises(InvalidArgumentError, match="metadata: is not JSON"):
        json_struct.struct_dict(Struct(fields={"x": {"number_value": number}}), "metadata")


@pytest.mark.parametrize("depth", [50, 5000])  # too deep for protobuf, and for Python
def test_too_deeply_nested_values_are_refused(depth):
    value = {}
    for _ in range(depth):
        value = {"inner": value}
    with pytest.raises(InvalidArgumentError, match="metadata: is n"):
        struct(value)


def test_a_struct_larger_than_a_mebibyte_is_refused_before_it_is_decoded():
    large = Struct()
    large["text"] = "x" * (1 << 20)
    with pytest.raises(OutOfRangeError, match=r"extra_info: has .* bytes"):
        json_struct.struct_dict(large, "extra_info")


@pytest.mark.parametrize(("field", "most"), [("steps", 2), ("samples", 3)])
def test_a_selection_longer_than_the_candidates_is_refused_without_printing_it(field, most):
    request = jepa_pb2.UnrollRequest(**{field: range(10_000)})
    tensors.encode(np.zeros((1, 3, 2, 4), np.float32), request.action_candidates)
    with pytest.raises(OutOfRangeError, match=f"{field}: has 10000 entries; the candidates have {most}$"):
        unroll_call(request)
