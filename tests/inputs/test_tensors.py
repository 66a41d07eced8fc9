"""The codec: every dtype there and back, and nothing malformed gets through."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from worldforge_jepa_client.errors import InvalidArgumentError
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors

NAMES = ["uint8", "int32", "int64", "bool", "float16", "float32", "float64"]
SHAPES = [(), (1,), (0,), (3, 0, 2), (2, 3), (1, 4, 3, 10)]


def message(array, **keywords):
    result = jepa_pb2.Tensor()
    tensors.encode(array, result, **keywords)
    return result


def round_trip(array, **keywords):
    return tensors.decode(message(array, **keywords))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_dtype_and_shape_survives_a_round_trip(name, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(name)
    result = round_trip(array)
    assert result.dtype == array.dtype
    assert result.shape == array.shape
    np.testing.assert_array_equal(result, array)


@given(hnp.arrays(st.sampled_from(NAMES), hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)))
def test_any_array_survives_a_round_trip_bit_by_bit(array):
    assert round_trip(array).tobytes() == array.tobytes()


def test_the_wire_is_row_major_little_endian():
    array = np.array([[1, 2], [3, 4]], dtype=np.int32)
    assert message(array).data == bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0])
    assert list(message(array).shape) == [2, 2]


@pytest.mark.parametrize("view", [np.transpose, lambda a: a[::-1], lambda a: a[:, ::2], np.asfortranarray])
@pytest.mark.parametrize("order", ["<", ">"])
def test_byte_order_and_memory_layout_of_the_source_do_not_matter(view, order):
    array = view(np.arange(12).reshape(3, 4).astype(f"{order}f4"))
    result = round_trip(array)
    np.testing.assert_array_equal(result, array)
    assert result.dtype.isnative


@given(hnp.arrays(np.float32, 8, elements=st.floats(width=32)))
def test_bfloat16_encoding_rounds_to_nearest(array):
    result = round_trip(array, dtype="bfloat16")
    assert result.dtype == np.float32
    finite = np.abs(array) < 3e38
    normal = finite & (np.abs(array) > 1e-37)
    np.testing.assert_allclose(result[normal], array[normal], rtol=2**-8)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(array))
    np.testing.assert_array_equal(round_trip(result, dtype="bfloat16"), result)


@given(hnp.arrays(np.float32, (2, 3), elements=st.floats(width=32, allow_nan=False)))
def test_bfloat16_has_the_same_bits_with_ml_dtypes_and_without(array):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors, "_BFLOAT16", None)
        by_hand = message(array, dtype="bfloat16").data
        patch.setattr(tensors, "_BFLOAT16", ml_dtypes.bfloat16)
        assert message(array, dtype="bfloat16").data == by_hand
    assert message(array.astype(ml_dtypes.bfloat16)).data == by_hand


def test_a_bfloat16_scalar_survives():
    result = round_trip(np.array(-2.5, np.float32), dtype="bfloat16")
    assert (result.shape, result.item()) == ((), -2.5)


def test_bfloat16_ties_round_to_even():
    ties = np.array([0x3F808000, 0x3F818000], dtype=np.uint32).view(np.float32)
    expected = np.array([0x3F800000, 0x3F820000], dtype=np.uint32).view(np.float32)
    np.testing.assert_array_equal(round_trip(ties, dtype="bfloat16"), expected)


def test_decoding_is_a_read_only_view():
    assert not round_trip(np.zeros(3)).flags.writeable
    assert not round_trip(np.zeros(3, np.float32), dtype="bfloat16").flags.writeable


@pytest.mark.parametrize("array", [np.zeros(2, complex), np.array(["a"]), np.zeros(2, np.uint32)])
def test_dtypes_without_a_counterpart_are_refused(array):
    with pytest.raises(InvalidArgumentError, match="cannot be sent") as caught:
        message(array, field="goal")
    assert caught.value.field == "goal"


@pytest.mark.parametrize(
    ("dtype", "shape", "data", "reason"),
    [
        (jepa_pb2.DATA_TYPE_FLOAT32, [2], b"1234567", "DATA_LENGTH_MISMATCH"),
        (jepa_pb2.DATA_TYPE_FLOAT32, [2], b"123456789", "DATA_LENGTH_MISMATCH"),
        (jepa_pb2.DATA_TYPE_FLOAT32, [], b"", "DATA_LENGTH_MISMATCH"),
        (jepa_pb2.DATA_TYPE_FLOAT32, [4], b"1234", "DATA_LENGTH_MISMATCH"),  # no broadcasting of one element
        (jepa_pb2.DATA_TYPE_FLOAT32, [-1], b"1234", "INVALID_SHAPE"),
        (jepa_pb2.DATA_TYPE_FLOAT32, [-1, -1], b"1234", "INVALID_SHAPE"),
        (jepa_pb2.DATA_TYPE_UINT8, [2**32, 2**32], b"", "INVALID_SHAPE"),  # wraps around to 0 in 64 bits
        (jepa_pb2.DATA_TYPE_UINT8, [0, 2**40], b"", "INVALID_SHAPE"),
        (jepa_pb2.DATA_TYPE_UINT8, [2**30] * 4, b"", "DATA_LENGTH_MISMATCH"),
        (jepa_pb2.DATA_TYPE_UINT8, [1] * 9, b"1", "INVALID_SHAPE"),
        (jepa_pb2.DATA_TYPE_UNSPECIFIED, [1], b"1234", "INVALID_DTYPE"),
        (99, [1], b"1234", "INVALID_DTYPE"),
        (jepa_pb2.DATA_TYPE_BOOL, [2], b"\x00\x02", "INVALID_VALUE"),
    ],
)
def test_malformed_messages_are_refused_by_name(dtype, shape, data, reason):
    with pytest.raises(InvalidArgumentError) as caught:
        tensors.decode(jepa_pb2.Tensor(dtype=dtype, shape=shape, data=data), field="goal.visual")
    assert caught.value.reason == reason
    assert caught.value.field == "goal.visual"
    assert str(caught.value).startswith("goal.visual: ")


@given(st.integers(0, 12), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=10), st.binary(max_size=64))
def test_no_message_makes_the_decoder_fail_otherwise(dtype, shape, data):
    try:
        result = tensors.decode(jepa_pb2.Tensor(dtype=dtype, shape=shape, data=data))
    except InvalidArgumentError:
        return
    assert result.shape == tuple(shape)


@given(
    hnp.arrays(np.float32, st.integers(0, 300), elements=st.floats(width=32, allow_nan=False)), st.sampled_from("<>")
)
def test_floats_are_on_the_wire_what_protobuf_makes_of_them(values, order):
    response = jepa_pb2.ScoreResponse(best_index=7)
    tensors.encode_floats(values.astype(f"{order}f4"), response)
    whole = jepa_pb2.ScoreResponse(scores=values.tolist(), best_index=7)
    assert response.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)
    np.testing.assert_array_equal(tensors.decode_floats(whole), values)


def test_each_decode_returns_its_own_array():
    response = jepa_pb2.ScoreResponse(scores=[1, 2])
    tensors.decode_floats(response)[0] = 9
    assert tensors.decode_floats(response).tolist() == [1, 2]
