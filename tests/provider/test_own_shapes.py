"""Models that take no frames, but arrays of a shape of their own; and those whose preprocessor normalizes actions."""

import asyncio
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support import python_models
from tests.support.in_process import running
from worldforge_jepa_client.errors import InternalError
from worldforge_jepa_client.inputs.synthetic import synthetic_arrays
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.external.adapt import adapt

# In the shape of WorldForge's own fixture of a success: rank 3, values in 0..1, a history of no one frame.
INFO = {
    "observation": [[[0.0, 0.1], [0.2, 0.3]], [[0.4, 0.5], [0.6, 0.7]]],
    "goal": [[[0.9, 0.8], [0.7, 0.6]], [[0.5, 0.4], [0.3, 0.2]]],
    "action_history": [[[0.0, 0.0], [0.1, 0.1]]],
    "task": "contract-pusht",
    "step": 3,
    "scale": 0.5,
}
CANDIDATES = [[[[0.0, 0.0], [0.1, 0.1]], [[0.2, 0.2], [0.3, 0.3]], [[0.4, 0.4], [0.5, 0.5]]]]


class AnyPair(python_models.ScoreActions):
    observation_shape = (-1, -1, 2)


def served(model, name="m"):
    return adapt(model, name=name, source="test", device="cpu")


async def scored(model, info, candidates):
    """The payload of a runtime on a server with this model."""
    async with running(models={"m": served(model)}) as server:

        def score():
            with GrpcRuntime(server.target, timeout=30) as runtime:
                return runtime.score_actions(model_path="label", info=info, action_candidates=candidates)

        return await asyncio.to_thread(score)


async def test_arrays_of_its_own_shape_reach_the_model_as_they_are():
    model = AnyPair()
    payload = await scored(model, INFO, CANDIDATES)
    np.testing.assert_allclose(payload["scores"], [0.1, 0.3, 0.5], rtol=1e-6)
    told = model.told["info"]
    for name in ("observation", "goal", "action_history"):
        np.testing.assert_allclose(told[name], np.float32(INFO[name]))
    assert told["task"] == "contract-pusht"


async def test_integers_stay_integers():
    model = AnyPair()
    await scored(model, INFO, CANDIDATES)
    told = model.told["info"]
    assert (told["step"], type(told["step"]), told["scale"]) == (3, int, 0.5)


async def test_another_shape_is_refused():
    payload = await scored(AnyPair(), INFO | {"goal": [[1.0, 2.0, 3.0]]}, CANDIDATES)
    assert payload["error"]["type"] == "invalid_shape"
    assert payload["error"]["message"].startswith("info.goal: has shape (1, 1, 3); expected (any, any, 2)")


async def test_a_model_that_scores_by_itself_takes_an_action_for_each_frame():
    frames = np.full((1, 3, 3, 4, 4), 9, np.uint8)
    model = python_models.ScoreActions()
    for history in (2, 3):
        info = {"observation": frames, "goal": frames[:, :1], "action_history": np.ones((1, history, 2))}
        assert len((await scored(model, info, CANDIDATES))["scores"]) == 3
        assert model.told["info"]["action_history"].shape == (1, history, 2)
    payload = await scored(model, info | {"action_history": np.ones((1, 4, 2))}, CANDIDATES)
    assert "has 4 actions; 3 observation frames need 2" in payload["error"]["message"]


@pytest.mark.parametrize("shape", [(3,), (0, 2), "22", (2, 2.0)])
def test_a_shape_that_is_none_is_refused(shape):
    model = python_models.ScoreActions()
    model.observation_shape = shape
    with pytest.raises(ModelLoadError, match="its observation_shape is"):
        served(model)


def test_a_model_with_latents_takes_frames_only():
    model = python_models.Plain()
    model.observation_shape = (2, 2)
    with pytest.raises(ModelLoadError, match="other models take frames"):
        served(model)


def test_noise_has_its_shape():
    arrays = synthetic_arrays(served(AnyPair()).spec, samples=2, horizon=3, seed=0)
    assert {name: array.shape for name, array in arrays.items()} == {
        "observation": (8, 8, 2),
        "goal": (8, 8, 2),
        "action_candidates": (1, 2, 3, 2),
    }


class Doubles:
    def normalize_actions(self, actions):
        return actions * 2


class Broken:
    def normalize_actions(self, actions):
        return actions[..., :1]


async def test_a_preprocessor_without_statistics_normalizes_actions_itself():
    model = python_models.ScoreActions()
    info = {"observation": np.full((3, 4, 4), 9), "goal": np.full((3, 4, 4), 9), "actions_are_normalized": False}
    payload = await scored((model, Doubles()), info, CANDIDATES)
    np.testing.assert_allclose(payload["scores"], [0.2, 0.6, 1.0], rtol=1e-6)
    payload = await scored(model, info, CANDIDATES)
    assert payload["error"]["type"] == "no_action_normalization"


def test_other_than_actions_of_the_same_shape_is_an_error():
    with pytest.raises(InternalError, match="normalize_actions returned"):
        served((python_models.Plain(), Broken())).normalize_actions(torch.zeros(1, 2, 4))


FIXTURES = {  # in the shape of WorldForge's own: a request, and what the model answers it
    "success": {"info": INFO, "action_candidates": CANDIDATES, "runtime_response": {"scores": [3, 1, 2]}},
    "missing_goal": {
        "info": {"observation": [[0.5, 1.5]]},
        "action_candidates": CANDIDATES,
        "runtime_response": {"scores": [0.5]},
    },
    "bad_action_candidates": {
        "info": INFO,
        "action_candidates": [[[0.5, 1.5]]],
        "runtime_response": {"scores": [0.5]},
    },
    "bad_scores": {"info": INFO, "action_candidates": CANDIDATES, "runtime_response": {"scores": [1, 2, "three"]}},
    "error": {
        "info": INFO,
        "action_candidates": CANDIDATES,
        "runtime_response": {"error": {"type": "checkpoint_expired", "message": "it is gone"}},
    },
}


def fixture(name):
    """WorldForge's own where a checkout is named, else ours."""
    if "WORLDFORGE_REPO" not in os.environ:
        return FIXTURES[name]
    folder = Path(os.environ["WORLDFORGE_REPO"]) / "tests" / "fixtures" / "providers"
    return json.loads((folder / f"jepa_wms_{name}.json").read_text())


class OfAFixture(python_models.Answering):
    action_dim, observation_shape = 2, (-1, -1, 2)


async def answered(name):
    found = fixture(name)
    return await scored(OfAFixture(found["runtime_response"]), found["info"], found["action_candidates"])


async def test_worldforges_fixture_of_a_success_scores():
    payload = await answered("success")
    np.testing.assert_allclose(payload["scores"], fixture("success")["runtime_response"]["scores"], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "type_", "message"),
    [
        ("missing_goal", "missing_field", "info.goal: is missing"),
        ("bad_action_candidates", "invalid_shape", "action_candidates: has shape (1, 1, 2); expected 4 dimensions"),
        ("bad_scores", "invalid_scores", "the model's response has scores that are not numbers"),
        ("error", "checkpoint_expired", "the model says checkpoint_expired: "),
    ],
)
async def test_worldforges_fixtures_that_must_fail_are_error_payloads(name, type_, message):
    payload = await answered(name)
    assert payload["error"]["type"] == type_
    assert payload["error"]["message"].startswith(message)
