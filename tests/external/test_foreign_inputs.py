"""The inputs a foreign model gets: dtype, range, preprocessing, tensors; and that it can spoil nothing by them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.external.test_python_source import CANDIDATES, S, ask, call, seen, served
from tests.support import python_models
from tests.support.in_process import running
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.contract.types import Observation, Scene, ScoreCall
from worldforge_jepa_client.errors import InternalError
from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.external.adapt import adapt

FOUR = np.zeros((1, 2, 3, 4), np.float32)
FOUR[0, 1] = -1.0  # three steps of -4


def with_preprocessor(model, **published):
    return adapt((model, SimpleNamespace(**published)), name="m", source="test", device="cpu")


def of_proprio(value):
    frames = (Observation(seen(pixel).visual, np.full((1, 1, 2), value, np.float32)) for pixel in (9, 7))
    return Scene(*frames)


# Frames


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_frames_arrive_as_float32_whatever_was_sent(dtype):
    latent, scoring = python_models.Plain(), python_models.ScoreActions()
    encode, dtypes = latent.encode, []
    latent.encode = lambda obs: dtypes.append(obs.dtype) or encode(obs)
    scene = Scene(*(Observation(seen(value).visual.astype(dtype)) for value in (9, 7)))
    ask(served(latent), ScoreCall(scene, FOUR))
    ask(served(scoring), ScoreCall(scene, CANDIDATES))
    assert [*dtypes, scoring.told["info"]["observation"].dtype] == [torch.float32] * 3


def test_arithmetic_on_dark_frames_does_not_wrap():
    class Difference(python_models.Scorer):
        def score_actions(self, *, info, action_candidates, **_):
            gap = info["goal"].flatten()[0] - info["observation"].flatten()[0]
            return {"scores": [float(gap)] * action_candidates.shape[1]}

    assert ask(served(Difference())).scores.tolist() == [-2.0] * S  # 254 in bytes


def test_frames_keep_a_side_that_differs_by_one():
    model, shapes = python_models.Plain(), []
    encode = model.encode
    model.encode = lambda obs: shapes.append(tuple(obs.shape)) or encode(obs)
    frames = Observation(np.full((1, 1, 3, 4, 5), 9, np.uint8))
    ask(served(model), ScoreCall(Scene(frames, frames), FOUR))
    assert set(shapes) == {(1, 1, 3, 4, 5)}


# Preprocessors


def test_a_transform_is_applied_to_frames():
    model = with_preprocessor(python_models.Plain(), transform=lambda frames: frames * 2)
    assert ask(model, call(FOUR)).scores.tolist() == [16.0, (18 - 12 - 14) ** 2]
    scoring = python_models.ScoreActions()
    ask(with_preprocessor(scoring, transform=lambda frames: frames * 2))
    assert scoring.told["info"]["observation"].unique().tolist() == [18]


@pytest.mark.parametrize("transform", [lambda _: None, lambda frames: frames[:, :0], lambda frames: frames.int()])
def test_a_transform_that_returns_no_frames_is_an_error(transform):
    with pytest.raises(InternalError, match="the preprocessor's transform returned"):
        ask(with_preprocessor(python_models.Plain(), transform=transform), call(FOUR))


def test_a_model_that_has_its_preprocessor_applies_it_itself():
    model = python_models.Plain()
    model.preprocessor = SimpleNamespace(transform=lambda frames: frames * 2, visual_mean=[1.0], visual_std=[1.0])
    served_so = adapt((model, model.preprocessor), name="m", source="test", device="cpu")
    assert ask(served_so, call(FOUR)).scores.tolist() == [4.0, 100.0]


def test_statistics_of_proprio_are_applied():
    model = python_models.ScoreActions()
    model.proprio_dim = 2
    published = with_preprocessor(model, proprio_mean=[1.0, 2.0], proprio_std=[2.0, 4.0])
    ask(published, ScoreCall(of_proprio(5), CANDIDATES))
    assert model.told["info"]["observation_proprio"].tolist() == [[[2.0, 0.75]]]
    assert model.told["info"]["goal_proprio"].tolist() == [[[2.0, 0.75]]]


@pytest.mark.parametrize(
    ("published", "says"),
    [
        ({"image_mean": [0.5], "image_std": [0.5]}, "give it a transform"),
        ({"proprio_mean": [0.0], "proprio_std": [1.0]}, "proprio_dim is 0"),
        ({"action_mean": [0.0]}, "its action statistics cannot normalize"),
        ({"state_mean": [0.0], "state_std": [0.0]}, "its state statistics cannot normalize"),
        ({"color": "blue"}, "has none of action_mean"),
    ],
)
def test_an_inapplicable_preprocessor_is_refused_at_load(published, says):
    with pytest.raises(ModelLoadError, match=says):
        with_preprocessor(python_models.Plain(), **published)


def test_a_dict_is_no_preprocessor():
    with pytest.raises(ModelLoadError, match="its preprocessor is a dict; expected an object with action_mean"):
        adapt((python_models.Plain(), {"action_mean": [0.0]}), name="m", source="test", device="cpu")


# Tensors beside visual and proprio


def test_nested_lists_of_rank_three_arrive_as_tensors():
    model = python_models.ScoreActions()
    extra = {"state": [[[3, 5]]], "goal_state": [[[1.0, 1.0]]], "note": [[1, 2]], "ragged": [[[1], [1, 2]]]}
    ask(with_preprocessor(model, state_mean=[1.0, 1.0], state_std=[2.0, 2.0]), call(extra_info=extra))
    info = model.told["info"]
    assert (info["state"].dtype, info["state"].tolist()) == (torch.float32, [[[1.0, 2.0]]])
    assert info["goal_state"].tolist() == [[[0.0, 0.0]]]
    assert (info["note"], info["ragged"]) == (extra["note"], extra["ragged"])


def test_get_cost_gets_extra_tensors_once_per_sample():
    model = python_models.GetCost()
    ask(served(model), call(extra_info={"state": [[[3, 5]]]}))
    assert model.shapes["state"] == (1, S, 1, 2)


# Copies


class WritesIntoItsContext(python_models.Plain):
    def unroll(self, z_ctxt, act_suffix):
        predicted = super().unroll(z_ctxt, act_suffix)
        z_ctxt["visual"].zero_(), act_suffix.zero_()
        return predicted


class ReusesItsBuffer(python_models.Plain):
    buffer = torch.zeros(1, 1, 1, 1, 1)

    def encode(self, obs):
        return {"visual": self.buffer.copy_(super().encode(obs)["visual"])}


@pytest.mark.parametrize("kind", [python_models.Plain, WritesIntoItsContext, ReusesItsBuffer])
async def test_a_model_that_writes_where_it_should_not_scores_as_any_other(kind):
    frames = vars(call(FOUR).scene)
    async with running(models={"m": served(kind())}) as server, AsyncClient(server.target, timeout=30) as client:
        for _ in range(2):
            scored = await client.score(**frames, action_candidates=FOUR)
            assert scored.scores.tolist() == [4.0, 100.0]
