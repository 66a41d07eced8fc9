"""No wrong number: whatever comes in is scored as docs/inputs.md means it, or refused by a JepaError that names it."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.support.calls import BLIND, SPEC, A, H, S, call, observation
from tests.support.in_process import DEADLINE
from worldforge_jepa_client.actions import ActionMapping
from worldforge_jepa_client.contract.types import PlanCall, ScoreOptions, ScoreResult, Timing
from worldforge_jepa_client.contract.validate import check_plan_call, check_score_call
from worldforge_jepa_client.errors import InvalidArgumentError, JepaError
from worldforge_jepa_client.inputs.arrays import as_array, as_candidates, as_observation
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_server.models.native import tiny

MODEL = tiny.load("cpu", "tiny")


def refused(function, *arguments, **keywords):
    with pytest.raises(JepaError) as caught:
        function(*arguments, **keywords)
    return caught.value


# Frames


@pytest.mark.parametrize("part", ["observation", "goal"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "float64"])
@pytest.mark.parametrize("most", [1, 1.03, 2])
def test_frames_scaled_to_one_are_refused_whatever_their_dtype(part, dtype, most):
    visual = np.full((1, 1, 3, 8, 8), most).astype(dtype)
    spec = dataclasses.replace(SPEC, visual=MODEL.spec.visual)
    error = refused(check_score_call, call(**{part: dataclasses.replace(observation(), visual=visual)}), spec)
    assert (error.reason, error.field) == ("INVALID_VALUE", f"context.{part}.visual")
    assert "scaled to 0..1" in str(error)


@pytest.mark.parametrize("most", [0, 3, 255])
def test_a_black_frame_and_a_dark_one_are_accepted(most):
    check_score_call(
        call(goal=dataclasses.replace(observation(), visual=np.full((1, 1, 3, 8, 8), most, np.uint8))), SPEC
    )


def test_frames_with_channels_last_are_told_to_transpose():
    frame = as_observation({"visual": np.full((8, 8, 3), 9, np.uint8), "proprio": [1.0, 2.0]}, "o")
    assert "transpose to (3, H, W)" in str(refused(check_score_call, call(observation=frame), SPEC))


# Candidates


@pytest.mark.parametrize("shape", [(), (A,), (S, A)])
def test_candidates_need_three_dimensions(shape):
    error = refused(as_candidates, np.ones(shape))
    assert (error.reason, error.field) == ("INVALID_SHAPE", "action_candidates")
    assert refused(ActionMapping(MODEL.spec).actions, np.ones((3, 10))).field == "candidates"


def test_candidates_that_overflow_are_refused_by_their_indices():
    candidates = np.zeros((1, S, H, A), np.float32)
    candidates[0, 1, 0, 2] = candidates[0, 2, 1, 0] = 1e18
    error = refused(check_score_call, call(action_candidates=candidates), SPEC)
    assert (error.code.name, error.field) == ("INVALID_ARGUMENT", "action_candidates")
    assert "in samples 1, 2" in str(error)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_candidates_that_are_not_finite_are_refused_by_their_indices(value):
    candidates = np.zeros((1, S, H, A), np.float32)
    candidates[0, 2] = value
    assert "in samples 2;" in str(refused(check_score_call, call(action_candidates=candidates), SPEC))


def test_raw_candidates_are_measured_by_the_statistics():
    statistics = dataclasses.replace(SPEC.normalization, action_mean=(5e6, 0.0), action_std=(1.0, 1e-9))
    spec, raw = dataclasses.replace(SPEC, normalization=statistics), ScoreOptions(actions_are_normalized=False)
    candidates = np.tile(np.array([5e6, 0, 5e6, 0], np.float32), (1, S, H, 1))
    check_score_call(call(action_candidates=candidates, options=raw), spec)
    candidates[0, 1, 0, 1] = 1.0
    assert "in samples 1" in str(refused(check_score_call, call(action_candidates=candidates, options=raw), spec))


def test_proprio_that_overflows_is_refused():
    far = dataclasses.replace(observation(), proprio=np.full((1, 1, 2), 1e18, np.float32))
    assert refused(check_score_call, call(goal=far), SPEC).field == "context.goal.proprio"


# Options


def test_raw_units_of_a_plan_without_history_are_refused():
    scene = call().scene
    plan = PlanCall(
        scene,
        planner=PlannerOptions(samples=8, elites=2, horizon=2),
        options=ScoreOptions(actions_are_normalized=False),
    )
    assert refused(check_plan_call, plan, SPEC).field == "options.actions_are_normalized"
    past = dataclasses.replace(scene, observation=observation(2), action_history=np.zeros((1, 1, A), np.float32))
    check_plan_call(dataclasses.replace(plan, scene=past), SPEC)


def test_extra_info_for_a_model_that_reads_none_is_refused_with_the_nearest_key():
    error = refused(check_score_call, call(extra_info={"objectve": "l1"}), SPEC)
    assert (error.reason, error.field) == ("UNKNOWN_FIELD", "extra_info.objectve")
    assert "did you mean objective?" in str(error)
    scene = {"observation": dataclasses.replace(observation(), proprio=None)}
    scene["goal"] = scene["observation"]
    check_score_call(call(**scene, extra_info={"note": 1}), dataclasses.replace(BLIND, reads_extra_info=True))


def test_a_provider_names_the_key_of_info_that_was_meant(server):
    info = {"observation": np.full((3, 8, 8), 9, np.uint8), "goal": np.full((3, 8, 8), 9, np.uint8), "objectve": "l1"}
    info |= {"observation_proprio": [1.0, 2.0], "goal_proprio": [1.0, 2.0]}
    with GrpcRuntime(server.target, timeout=DEADLINE) as runtime:
        answer = runtime.score_actions(model_path="", info=info, action_candidates=np.zeros((1, 2, 1, 10), np.float32))
    assert answer["error"] == {
        "type": "unknown_field",
        "message": "info.objectve: is no key that the model reads; did you mean objective?",
    }


def test_costs_are_lower_is_better_always():
    scores = np.array([1, -2, 3], np.float32)
    assert ScoreResult(scores, 1, True, {}, Timing()).costs.argmin() == 1
    assert ScoreResult(scores, 2, False, {}, Timing()).costs.argmin() == 2


# Containers


def torch_tensor(**keywords):
    return lambda array: torch.tensor(array.tolist(), **keywords)


@pytest.mark.parametrize(
    "make",
    [
        torch_tensor(dtype=torch.bfloat16),
        torch_tensor(requires_grad=True),
        torch_tensor(dtype=torch.bfloat16, requires_grad=True),
        lambda array: torch.nn.Parameter(torch_tensor()(array)),
        lambda array: list(torch_tensor(dtype=torch.bfloat16, requires_grad=True)(array)),
        lambda array: array.astype(np.uint8),
        np.ma.masked_array,
        lambda array: array.astype(pytest.importorskip("ml_dtypes").bfloat16),
        lambda array: pytest.importorskip("jax.numpy").asarray(array, "bfloat16"),
    ],
)
def test_candidates_of_every_container_become_float32(make):
    array = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    result = as_candidates(make(array))
    assert result.dtype == np.float32
    assert np.array_equal(result, array[None])


@pytest.mark.parametrize("value", [np.ma.masked_greater([1.0, 2.0], 1.5), [np.ma.masked_greater([1.0, 2.0], 1.5)]])
def test_masked_entries_are_refused(value):
    assert "masked entries; fill them first" in str(refused(as_array, value, "x", rank=2))


def test_an_array_that_is_no_array_is_still_refused_by_name():
    with pytest.raises(InvalidArgumentError, match="x: is not a rectangular"):
        as_array([torch.zeros(2), torch.zeros(3)], "x", rank=2)
