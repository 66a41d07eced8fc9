"""`python:package.module:factory`: models with scores of their own, with latents, and with neither."""

import math
from threading import Event

import numpy as np
import pytest
import torch
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.foreign import adapt
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.scoring import score, warm_up

from tests import python_models
from worldforge_jepa_client import Client
from worldforge_jepa_client.calls import Observation, ScoreCall, ScoreOptions
from worldforge_jepa_client.checks import check_score_call
from worldforge_jepa_client.errors import InternalError, InvalidArgumentError, OutOfRangeError
from worldforge_jepa_client.spec import FREE

S, H, A = 3, 2, 2
CANDIDATES = np.zeros((1, S, H, A), np.float32)
CANDIDATES[0, :, -1, 0] = [5, 1, 3]


def load(factory, **options):
    return load_model(ModelSource("m", f"python:tests.python_models:{factory}", options), "cpu")


def call(candidates=CANDIDATES, **changes):
    observation, goal = (Observation(np.full((1, 1, 3, 4, 4), value, np.uint8)) for value in (9, 7))
    return ScoreCall(observation, goal, candidates, **changes)


def ask(model, request=None):
    request = request or call()
    check_score_call(request, model.spec)
    return score(model, request, 512, Event())


def answered(answer):
    return ask(adapt(python_models.Answering(answer), name="m", source="test", device="cpu"))


@pytest.mark.parametrize("factory", ["ScoreActions", "ScoreActionCandidates", "ComputeScores"])
def test_a_models_own_scores_come_first(factory):
    scored = ask(load(factory))
    assert scored.scores.tolist() == [5, 1, 3]
    assert (scored.own.best_index, scored.own.lower_is_better, scored.objective) == (1, True, None)


def test_a_scoring_method_is_told_everything():
    model = python_models.ScoreActions()
    options = ScoreOptions(proprio_weight=0.0)
    ask(adapt(model, name="m", source="test", device="cpu"), call(options=options, extra_info={"note": [1]}))
    info = model.told["info"]
    assert model.told["model_path"] == "m"
    assert info["observation"].shape == info["goal"].shape == (1, 1, 3, 4, 4)
    assert (info["objective"], info["proprio_weight"], info["actions_are_normalized"]) == ("l2", 0.0, True)
    assert info["note"] == [1]
    assert torch.equal(model.told["action_candidates"], torch.from_numpy(CANDIDATES))


def test_get_cost_gets_every_tensor_once_per_sample():
    model = python_models.GetCost()
    scored = ask(adapt(model, name="m", source="test", device="cpu"))
    assert model.shapes["pixels"] == model.shapes["goal"] == (1, S, 1, 3, 4, 4)
    assert model.shapes["action"] == (1, S, 1, A)
    assert scored.scores.tolist() == [7, 3, 5]


def test_direction_best_index_and_metadata_are_the_models():
    scored = answered({"scores": torch.tensor([[1.0, 3.0, 3.0]]), "lower_is_better": False, "metadata": {"k": [1]}})
    assert (scored.own.best_index, scored.own.lower_is_better, scored.own.metadata) == (1, False, {"k": [1]})
    assert answered({"scores": [1, 2, 3], "best_index": 2}).own.best_index == 2


@pytest.mark.parametrize(
    ("answer", "reason", "message"),
    [
        ([1, 2, 3], "RESPONSE_NOT_AN_OBJECT", "is a list; expected an object"),
        (None, "RESPONSE_NOT_AN_OBJECT", "is a NoneType"),
        ({}, "MISSING_SCORES", "has no scores"),
        ({"scores": []}, "WRONG_SCORE_COUNT", "0 scores for 3 candidates"),
        ({"scores": [1, 2]}, "WRONG_SCORE_COUNT", "2 scores for 3 candidates"),
        ({"scores": ["a", "b", "c"]}, "INVALID_SCORES", "not numbers"),
        ({"scores": [[1], [2, 3]]}, "INVALID_SCORES", "not numbers"),
        ({"scores": [True, False, True]}, "INVALID_SCORES", "not numbers"),
        ({"scores": [1, math.nan, 2]}, "NON_FINITE_SCORES", "NaN or infinite"),
        ({"scores": [1, 1e300, 2]}, "NON_FINITE_SCORES", "NaN or infinite"),
        ({"scores": [1, 2, 3], "best_index": 3}, "INVALID_BEST_INDEX", "best_index 3 for 3"),
        ({"scores": [1, 2, 3], "best_index": -1}, "INVALID_BEST_INDEX", "best_index -1"),
        ({"scores": [1, 2, 3], "best_index": True}, "INVALID_BEST_INDEX", "best_index True"),
        ({"scores": [1, 2, 3], "lower_is_better": "yes"}, "INVALID_DIRECTION", "'yes'; expected true or false"),
        ({"scores": [1, 2, 3], "metadata": [1]}, "INVALID_METADATA", "type list; expected an object"),
        ({"scores": [1, 2, 3], "metadata": {"k": object()}}, "INVALID_METADATA", "not JSON"),
        ({"scores": [1, 2, 3], "metadata": {"k": math.nan}}, "INVALID_METADATA", "not JSON"),
        (
            {"error": {"type": "checkpoint_expired", "message": "gone"}},
            "CHECKPOINT_EXPIRED",
            "checkpoint_expired: gone",
        ),
        ({"error": {}}, "MODEL_FAILED", "no message"),
        ({"error": "broken"}, "INVALID_ERROR", "error of type str"),
        (ZeroDivisionError("x / 0"), "MODEL_FAILED", "own scoring raised ZeroDivisionError: x / 0"),
        (StopIteration(), "MODEL_FAILED", "raised StopIteration"),
    ],
)
def test_a_bad_answer_is_an_error_with_a_stable_reason(answer, reason, message):
    with pytest.raises(InternalError, match=message) as caught:
        answered(answer)
    assert caught.value.reason == reason


def test_a_model_with_only_encode_and_unroll():
    model = load("Plain")
    actions = np.zeros((1, 2, 3, 4), np.float32)
    actions[0, 1] = -1.0  # three steps of -4: from 9 to -3, where the goal is 7
    scored = ask(model, call(actions))
    assert scored.scores.tolist() == [4.0, 100.0]
    two_frames = Observation(np.zeros((1, 2, 3, 4, 4), np.uint8))
    with pytest.raises(OutOfRangeError, match="has 2 frames; the limit is 1"):
        ask(model, ScoreCall(two_frames, two_frames, actions, np.zeros((1, 1, 4), np.float32)))


def test_raw_actions_are_normalized_with_the_preprocessors_statistics():
    model = load("plain_with_preprocessor")
    assert (model.spec.raw_action_dim, model.spec.frameskip) == (2, 2)
    assert model.normalize_actions(torch.tensor([3.0, 6.0, 1.0, 2.0])).tolist() == [1, 1, 0, 0]


def test_a_scoring_method_may_leave_the_call_to_the_latents():
    scored = ask(load("PlainThatMayScore"), call(np.zeros((1, 2, 3, 4), np.float32)))
    assert (scored.own, scored.scores.tolist()) == (None, [4.0, 4.0])


def test_what_an_unknown_action_dim_means():
    model = adapt(python_models.Answering({"scores": [0.0]}), name="m", source="test", device="cpu")
    assert model.spec.action_dim == FREE
    warm_up(model)
    ask(model, call(np.zeros((1, 1, 2, 9), np.float32)))
    with pytest.raises(InvalidArgumentError, match="expected"):
        ask(load("ScoreActions"), call(np.zeros((1, 1, 2, 9), np.float32)))


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        ("failing", {}, "failed with KeyError: 'no such checkpoint'"),
        ("missing", {}, "importing it failed with AttributeError"),
        ("not_callable", {}, "is a int, expected a callable"),
        ("Normalizer", {}, "has neither encode and unroll nor a method"),
        ("on_device", {"device": "cuda"}, "python takes its own options, got device"),
        ("on_device", {"color": "blue"}, "cannot be called with device, color: .*'color'"),
    ],
)
def test_a_factory_that_gives_no_model_is_one_clear_error(factory, options, message):
    with pytest.raises(ModelLoadError, match=f"model m: .*{message}"):
        load(factory, **options)


@pytest.mark.parametrize("source", ["python:nowhere.to.be.found:make", "python:no_colon", "python::x"])
def test_a_factory_that_cannot_be_found(source):
    with pytest.raises(ModelLoadError, match=source):
        load_model(ModelSource("m", source), "cpu")


def test_through_the_wire_with_options_direction_and_metadata(start_server):
    server = start_server("--model", "own=python:tests.python_models:on_device,size=9")
    with Client(server.target) as client:
        frame = np.zeros((3, 4, 4), np.uint8)
        result = client.score(observation=frame, goal=frame, action_candidates=CANDIDATES)
    assert (result.scores.tolist(), result.best_index) == ([5, 1, 3], 1)
    assert result.metadata["size"] == "9"
    assert (result.metadata["device_given"], result.metadata["score_units"]) == ("cpu", "model_score")
    assert "objective" not in result.metadata
