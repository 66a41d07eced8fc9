"""Arguments that a call accepts, in every form; those it refuses are in tests/fixtures/requests.json."""

import dataclasses

import numpy as np
import pytest

from tests.support.calls import BLIND, SPEC, A, H, S, call, observation
from worldforge_jepa_client.contract.types import Observation, ScoreOptions
from worldforge_jepa_client.contract.validate import check_score_call
from worldforge_jepa_client.errors import InvalidArgumentError
from worldforge_jepa_client.inputs.arrays import as_array, as_observation
from worldforge_jepa_client.inputs.build import build_unroll_call


def with_visual(visual):
    return dataclasses.replace(observation(), visual=visual)


def test_good_calls_pass():
    check_score_call(call(), SPEC)
    history = np.zeros((1, 2, A), np.float32)
    check_score_call(call(observation=observation(3), action_history=history, goal=observation(2)), SPEC)
    check_score_call(call(observation=with_visual(np.full((1, 1, 3, 5, 9), 254.5, np.float32))), SPEC)
    check_score_call(call(observation=with_visual(np.zeros((1, 1, 3, 5, 9), np.float32))), SPEC)  # a black scene
    no_proprio = Observation(observation().visual)
    check_score_call(call(observation=no_proprio, goal=no_proprio), BLIND)
    check_score_call(call(goal=no_proprio, options=ScoreOptions(proprio_weight=0.0)), SPEC)


def test_of_a_context_only_the_candidates_and_options_are_checked():
    check_score_call(call(scene="an id"), SPEC)
    with pytest.raises(InvalidArgumentError, match="action_candidates"):
        check_score_call(call(scene="an id", action_candidates=np.zeros((1, S, H, A + 1), np.float32)), SPEC)


def test_an_unroll_refuses_text_for_a_boolean():
    with pytest.raises(InvalidArgumentError, match=r"options\.actions_are_normalized: is 'no'; expected true or false"):
        build_unroll_call("an id", np.zeros((1, S, H, A), np.float32), actions_are_normalized="no")


class OnlyDLPack:
    def __init__(self, array):
        self._array = array

    def __dlpack__(self, **keywords):
        return self._array.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("source", [np.asarray, np.ndarray.tolist, OnlyDLPack, lambda a: a.astype(float), tuple])
def test_arrays_come_in_many_forms(source):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = as_array(source(array), "x", rank=4)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, array[None, None])


def test_uint8_stays_and_other_numbers_become_float32():
    assert as_array(np.zeros(2, np.uint8), "x", rank=1).dtype == np.uint8
    assert as_array([1, 2], "x", rank=1).dtype == np.float32


def test_one_frame_scaled_to_one_is_refused_among_others():
    visual = np.full((1, 3, 3, 5, 9), 128, np.float32)
    visual[:, -1] /= 255
    with pytest.raises(InvalidArgumentError, match=r"visual: has a frame with no value above 0\.50.*scaled"):
        check_score_call(
            call(
                observation=dataclasses.replace(observation(3), visual=visual),
                action_history=np.zeros((1, 2, A), np.float32),
            ),
            SPEC,
        )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([[1, 2], [3]], "INVALID_TYPE"),
        ([["a"]], "INVALID_DTYPE"),
        (object(), "INVALID_TYPE"),
        (None, "MISSING_FIELD"),
        ([], "INVALID_SHAPE"),
        ([[], []], "INVALID_SHAPE"),
        ([True], "INVALID_DTYPE"),
        ([1 + 2j], "INVALID_DTYPE"),
    ],
)
def test_non_arrays_are_refused(value, reason):
    with pytest.raises(InvalidArgumentError) as caught:
        as_array(value, "x", rank=2)
    assert (caught.value.field, caught.value.reason) == ("x", reason)


def test_an_observation_is_an_array_or_a_mapping():
    frame = np.zeros((3, 8, 8), np.uint8)
    assert as_observation(frame, "o").visual.shape == (1, 1, 3, 8, 8)
    both = as_observation({"visual": frame, "proprio": [1.0, 2.0]}, "o")
    assert both.proprio is not None
    assert both.proprio.shape == (1, 1, 2)
    assert as_observation(both, "o").proprio is not None
    with pytest.raises(InvalidArgumentError, match=r"unknown keys propio; .*did you mean proprio\?"):
        as_observation({"visual": frame, "propio": [1.0]}, "o")
    with pytest.raises(InvalidArgumentError, match="visual: is missing"):
        as_observation({"proprio": [1.0]}, "o")
