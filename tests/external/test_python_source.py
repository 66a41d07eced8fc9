"""`python:package.module:factory`: models with scores of their own, with latents, and with neither."""

from contextlib import asynccontextmanager

import numpy as np
import pytest
import torch

from tests.support import python_models
from tests.support.in_process import running
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.contract.spec import DYNAMIC
from worldforge_jepa_client.contract.types import Observation, Scene, ScoreCall, ScoreOptions
from worldforge_jepa_client.errors import FailedPreconditionError, InternalError, InvalidArgumentError, OutOfRangeError
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.local import LocalClient
from worldforge_jepa_server.models.external.adapt import adapt
from worldforge_jepa_server.models.registry import load_model

S, H, A = 3, 2, 2
CANDIDATES = np.zeros((1, S, H, A), np.float32)
CANDIDATES[0, :, -1, 0] = [5, 1, 3]


def load(factory, **options):
    return load_model(ModelSource("m", f"python:tests.support.python_models:{factory}", options), "cpu")


def served(model):
    return adapt(model, name="m", source="test", device="cpu")


def seen(value, count=1):
    return Observation(np.full((1, count, 3, 4, 4), value, np.uint8))


FRAMES = {"observation": seen(9).visual, "goal": seen(7).visual}


def call(candidates=CANDIDATES, history=None, frames=1, **changes):
    return ScoreCall(Scene(seen(9, frames), seen(7, frames), history), candidates, **changes)


def ask(model, request=None):
    """The answer of the model to a call, as `score` gives it."""
    request = request or call()
    with LocalClient(model) as local:
        return local.score(
            **vars(request.scene),
            action_candidates=request.action_candidates,
            proprio_weight=request.options.proprio_weight,
            extra_info=request.extra_info,
        )


def answered(answer):
    return ask(served(python_models.Answering(answer)))


@pytest.mark.parametrize("factory", ["ScoreActions", "ScoreActionCandidates", "ComputeScores"])
def test_a_models_own_scores_come_first(factory):
    step = ask(load(factory))
    assert step.scores.tolist() == [5, 1, 3]
    assert (step.best_index, step.lower_is_better) == (1, True)
    assert step.metadata["score_units"] == "model_score"
    assert "objective" not in step.metadata


def test_a_scoring_method_is_told_everything():
    model = python_models.ScoreActions()
    history = np.full((1, 1, A), 2, np.float64)
    options = ScoreOptions(proprio_weight=0.0)
    ask(served(model), call(history=history, frames=2, options=options, extra_info={"note": [1]}))
    info = model.told["info"]
    assert model.told["model_path"] == "m"
    assert info["observation"].shape == (1, 2, 3, 4, 4)
    assert info["goal"].shape == (1, 1, 3, 4, 4)  # of a goal's frames the last counts
    assert info["action_history"].tolist() == [[[2, 2]]]
    assert (info["objective"], info["proprio_weight"], info["actions_are_normalized"]) == ("l2", 0.0, True)
    assert info["note"] == [1]
    assert torch.equal(model.told["action_candidates"], torch.from_numpy(CANDIDATES))


def test_get_cost_gets_every_tensor_once_per_sample():
    model = python_models.GetCost()
    step = ask(served(model))
    assert model.shapes["pixels"] == model.shapes["goal"] == (1, S, 1, 3, 4, 4)
    assert model.shapes["action"] == (1, S, 1, A)
    assert step.scores.tolist() == [7, 3, 5]


def test_get_cost_gets_past_actions_in_info():
    model = python_models.GetCost()
    step = ask(served(model), call(history=np.full((1, 1, A), 100, np.float32), frames=2))
    assert model.shapes["action_history"] == (1, S, 1, A)
    assert step.scores.tolist() == [7, 3, 5]  # of the candidates alone


def test_get_cost_of_the_older_contract_gets_past_actions_before_the_candidates():
    request = call(history=np.full((1, 1, A), 100, np.float32), frames=2)
    assert ask(load("GetCost", past_actions="candidates"), request).scores.tolist() == [107, 103, 105]


def test_direction_best_index_and_metadata_are_the_models():
    step = answered({"scores": torch.tensor([[1.0, 3.0, 3.0]]), "lower_is_better": False, "metadata": {"k": [1]}})
    assert (step.best_index, step.lower_is_better, step.metadata["k"]) == (1, False, [1])
    assert answered({"scores": [1, 2, 1], "best_index": 2}).best_index == 2


def test_what_a_model_writes_into_its_frames_is_not_kept():
    model = served(python_models.Overwriting())
    with LocalClient(model) as local, local.session(**FRAMES) as session:
        scores = [session.score(CANDIDATES).scores.tolist() for _ in range(2)]
    assert scores == [[9, 9, 9]] * 2


def test_a_model_may_use_gradients():
    assert ask(served(python_models.Gradients())).scores.tolist() == [5, 1, 3]


def test_a_model_with_only_encode_and_unroll():
    model = load("Plain")
    actions = np.zeros((1, 2, 3, 4), np.float32)
    actions[0, 1] = -1.0  # three steps of -4: from 9 to -3, where the goal is 7
    assert ask(model, call(actions)).scores.tolist() == [4.0, 100.0]
    with pytest.raises(OutOfRangeError, match="has 2 frames; the limit is 1"):
        ask(model, call(actions, history=np.zeros((1, 1, 4), np.float32), frames=2))


def test_goals_are_encoded_as_goals_where_the_model_can_be_told():
    scores = ask(load("EncodesGoalsApart"), call(np.zeros((1, 1, 1, 4), np.float32))).scores.tolist()
    assert scores == [(107 - 9) ** 2]


def test_nothing_that_loading_writes_is_on_standard_output(capfd):
    load("Writes")
    out, err = capfd.readouterr()
    assert (out, sorted(err.splitlines())) == ("", ["by another", "printed", "written"])


def test_unroll_is_given_the_kind_of_latents_that_encode_returns():
    model = load("OnlyItsOwnKind")
    scene = Scene(*(Observation(seen(value).visual, np.ones((1, 1, 2), np.float32)) for value in (9, 7)))
    step = ask(model, ScoreCall(scene, np.zeros((1, 1, 3, 4), np.float32)))
    assert step.scores.tolist() == [4.0]


@pytest.mark.parametrize("factory", ["plain_with_preprocessor", "scorer_with_preprocessor"])
def test_raw_actions_are_normalized_with_the_preprocessors_statistics(factory):
    model = load(factory)
    assert (model.spec.raw_action_dim, model.spec.frameskip) == (2, 2)
    assert model.normalize_actions(torch.tensor([3.0, 6.0, 1.0, 2.0])).tolist() == [1, 1, 0, 0]


def test_a_model_without_action_dim_accepts_any():
    model = served(python_models.Answering({"scores": [0.0]}))
    assert model.spec.action_dim == DYNAMIC
    ask(model, call(np.zeros((1, 1, 2, 9), np.float32)))
    with pytest.raises(InvalidArgumentError, match="expected"):
        ask(load("ScoreActions"), call(np.zeros((1, 1, 2, 9), np.float32)))


@pytest.mark.parametrize("model", ["ScoreActions", "PlainOfAnyActions"])
def test_a_model_that_zeros_may_not_fit_is_not_warmed_up(model):
    model = getattr(python_models, model)()
    warm_up(served(model))
    assert model.told is None


@asynccontextmanager
async def a_client(*models):
    """A client of a server with models called m, n."""
    named = {
        name: adapt(model, name=name, source="test", device="cpu") for name, model in zip("mn", models, strict=False)
    }
    async with running(models=named) as server, AsyncClient(server.target, timeout=30) as client:
        yield client


async def test_a_model_that_scores_by_itself_is_asked_in_every_way():
    async with a_client(python_models.ScoreActions()) as client:
        context = await client.create_context(**FRAMES)
        async with client.session(**FRAMES) as session:
            for answer in (
                await client.score(**FRAMES, action_candidates=CANDIDATES),
                await client.score(context=context, action_candidates=CANDIDATES),
                await session.score(CANDIDATES),
            ):
                assert (answer.scores.tolist(), answer.best_index) == ([5, 1, 3], 1)
                assert answer.metadata["score_units"] == "model_score"


async def test_scoring_model_answers_are_validated():
    async with a_client(python_models.Answering({"scores": [1.0]})) as client:
        context = await client.create_context(**FRAMES)
        async with client.session(**FRAMES) as session:
            for query in (
                client.score(**FRAMES, action_candidates=CANDIDATES),
                client.score(context=context, action_candidates=CANDIDATES),
                session.score(CANDIDATES),
            ):
                with pytest.raises(InternalError, match="1 scores for 3 candidates") as caught:
                    await query
                assert caught.value.reason == "INVALID_SCORES"


@pytest.mark.parametrize(("lower_is_better", "towards"), [(True, -1), (False, 1)])
async def test_plans_follow_a_scoring_models_direction(lower_is_better, towards):
    async with a_client(python_models.ScoreActions(lower_is_better=lower_is_better)) as client:
        plan = await client.plan(**FRAMES, horizon=H, samples=64, iterations=4, elites=8).result()
    assert towards * plan.actions[-1, 0] > 1  # zeros at first; the scores are each candidate's last first entry
    assert plan.score == pytest.approx(plan.best_actions[-1, 0])


async def test_a_scoring_model_refuses_encode_and_unroll():
    async with a_client(python_models.ScoreActions()) as client:
        with pytest.raises(FailedPreconditionError, match="model: m scores by itself") as caught:
            await client.encode(observation=FRAMES["observation"])
        assert caught.value.reason == "NO_LATENTS"
        with pytest.raises(FailedPreconditionError, match="model: m scores by itself"):
            await anext(aiter(client.unroll(observation=FRAMES["observation"], action_candidates=CANDIDATES)))


async def test_a_plan_needs_an_action_dim():
    async with a_client(python_models.Answering({})) as client:
        with pytest.raises(FailedPreconditionError, match="m does not say how many entries an action has") as caught:
            await client.plan(**FRAMES, horizon=H).result()
        assert caught.value.reason == "NO_ACTION_DIM"


def test_through_the_wire_with_options_direction_and_metadata(start_server):
    server = start_server("--model", "own=python:tests.support.python_models:on_device,size=9")
    with Client(server.target) as client:
        frame = np.zeros((3, 4, 4), np.uint8)
        result = client.score(observation=frame, goal=frame, action_candidates=CANDIDATES)
    assert (result.scores.tolist(), result.best_index) == ([5, 1, 3], 1)
    assert result.metadata["size"] == "9"
    assert (result.metadata["device_given"], result.metadata["score_units"]) == ("cpu", "model_score")
    assert "objective" not in result.metadata
