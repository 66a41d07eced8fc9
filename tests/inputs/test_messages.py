"""Calls, results and specs survive the wire unchanged."""

import contextlib
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import BLIND, JSON, SPEC, call, observation
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import MemoryUse, Objective, PlannerDefaults
from worldforge_jepa_client.contract.types import Observation, ScoreCall, ScoreOptions, ScoreResult, Timing
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError
from worldforge_jepa_client.v1 import jepa_pb2

OPTIONS = st.builds(
    ScoreOptions,
    st.none() | st.sampled_from(Objective),
    st.none() | st.floats(0, 10, width=32),
    st.booleans(),
)


def assert_same(left, right):
    """Equal dataclasses, arrays compared by value."""
    for item in dataclasses.fields(left):
        a, b = getattr(left, item.name), getattr(right, item.name)
        if dataclasses.is_dataclass(a):
            assert_same(a, b)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        else:
            assert a == b


@given(OPTIONS, st.dictionaries(st.text(), JSON, max_size=3), st.text(max_size=5), st.booleans())
def test_a_call_survives(options, extra, model, with_history):
    history = np.ones((1, 1, 4), np.float32) if with_history else None
    goal = Observation(observation().visual) if with_history else observation()
    sent = call(options=options, extra_info=extra, model=model, action_history=history, goal=goal)
    assert_same(wire.score_call(wire.score_request(sent)), sent)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1), st.dictionaries(st.text(), JSON, max_size=3))
def test_a_result_survives(scores, metadata):
    result = ScoreResult(np.array(scores, np.float32), 0, True, metadata, Timing(1, 2, 3, 4, 5, 6))
    assert_same(wire.score_result(wire.score_response(result)), result)


PUBLISHED = dataclasses.replace(
    SPEC,
    family="f",
    environment="e",
    encoder="n",
    planner=PlannerDefaults(300, 10, 30, 6, 3, 0.5, (-1.0,) * 4, (1.0,) * 4),
    memory=MemoryUse(1, 2),
    image_size=224,
)


@pytest.mark.parametrize("spec", [SPEC, BLIND, PUBLISHED, dataclasses.replace(SPEC, objective=Objective.COSINE)])
def test_a_spec_survives(spec):
    decoded = wire.model_spec(wire.model_message(spec))
    assert decoded.proprio_weight == pytest.approx(spec.proprio_weight)
    assert dataclasses.replace(decoded, proprio_weight=spec.proprio_weight) == spec
    message = wire.model_message(spec)
    assert (message.action_dim, message.proprio_dim) == (spec.action_dim, spec.proprio_dim)


def test_an_objective_of_a_newer_server_is_named():
    message = wire.model_message(SPEC)
    message.default_objective = 77
    with pytest.raises(FailedPreconditionError, match="default_objective: is 77, which this client does not know"):
        wire.model_spec(message)


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_extra_info_must_be_json(value):
    with pytest.raises(InvalidArgumentError, match="extra_info: is not JSON"):
        wire.score_request(call(extra_info={"key": value}))


@given(st.binary(max_size=200))
def test_bytes_that_parse_as_a_request_decode_or_are_refused(data):
    request = jepa_pb2.ScoreRequest()
    try:
        request.ParseFromString(data)
    except Exception:
        return
    with contextlib.suppress(InvalidArgumentError):
        assert isinstance(wire.score_call(request), ScoreCall)
