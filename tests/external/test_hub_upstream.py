"""Scores and latents are those of upstream itself, given a checkout of it; see `tests/external/test_hub_rollouts.py`."""

import importlib
import itertools

import numpy as np
import pytest
import torch

from tests.external.hub import NAMES, NO_UPSTREAM, UPSTREAM, arrays, frames, join, loaded, random_actions
from tests.support.in_process import running
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.weights.key_names import official_weights
from worldforge_jepa_server.models.native.weights.published import LIMITS, build

pytestmark = pytest.mark.skipif(UPSTREAM is None, reason=NO_UPSTREAM)

OBJECTIVES = {
    Objective.L2: "ReprTargetDistMPCObjective",
    Objective.L1: "ReprTargetDistL1MPCObjective",
    Objective.COSINE: "ReprTargetCosMPCObjective",
}
WEIGHTS = (0.1, 1.0, 0.0)
ENCODE, PREDICT, UNROLL, SCORE = 2e-5, 5e-5, 2e-4, 1e-5  # absolute, those of the golden vectors
RELATIVE = 1e-5
SECONDS = 600  # for one call, on a busy machine
ACTIONS = random_actions(2)


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return loaded("upstream", name)


@pytest.fixture(scope="module")
def upstream(model):
    """The object that torch hub returned."""
    return model._model


@pytest.fixture(scope="module")
def native(upstream, name):
    """Our own implementation with the weights of upstream's object."""
    inner = upstream.model
    parts = {part: getattr(inner, part) for part in ("predictor", "action_encoder", "proprio_encoder")}
    states = {part: module.state_dict() for part, module in parts.items() if module is not None}
    return wrapped(build(CATALOG[name], official_weights(states, inner.encoder.base_model.state_dict())))


def wrapped(module):
    return NativeModel(module, name="m", source="test", digest="", device="cpu", limits=LIMITS)


@pytest.fixture(scope="module")
def upstreams_scores(upstream):
    """Return upstream's own scores of its own rollout, by objective and weight; 0 is visual only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(UPSTREAM)
        objectives = importlib.import_module("evals.simu_env_planning.planning.planning.objectives")
    now, goal = (
        upstream.encode({"visual": each.visual, "proprio": each.proprio}) for each in (frames(), frames(seed=5))
    )
    rolled = upstream.unroll(now, act_suffix=ACTIONS)

    def scores(objective, weight):
        target, reached = (goal, rolled) if weight else (goal["visual"], rolled["visual"])
        measure = getattr(objectives, OBJECTIVES[objective])(cfg={}, target_enc=target, alpha=weight)
        return measure(reached, ACTIONS).detach().numpy()

    return {each: scores(*each) for each in itertools.product(OBJECTIVES, WEIGHTS)}


async def scores_of(served):
    """Return a server's scores of a model, by objective and weight."""
    async with running(models={"m": served}) as server, AsyncClient(server.target, timeout=SECONDS) as client:
        scene = {"observation": arrays(frames()), "goal": arrays(frames(seed=5))}
        candidates = ACTIONS.transpose(0, 1)[None].numpy()
        context = await client.create_context(**scene)
        return {
            (objective, weight): (
                await client.score(
                    context=context, action_candidates=candidates, objective=objective, proprio_weight=weight
                )
            ).scores
            for objective, weight in itertools.product(OBJECTIVES, WEIGHTS)
        }


async def test_scores_through_a_server_are_those_of_upstreams_objectives(model, upstreams_scores):
    for how, scores in (await scores_of(model)).items():
        np.testing.assert_allclose(scores, upstreams_scores[how], rtol=RELATIVE, atol=0, err_msg=str(how))


async def test_scores_of_native_through_a_server_are_upstreams_within_the_golden_tolerance(native, upstreams_scores):
    for how, scores in (await scores_of(native)).items():
        np.testing.assert_allclose(scores, upstreams_scores[how], rtol=0, atol=SCORE, err_msg=str(how))


def test_native_encodes_and_predicts_within_the_golden_tolerances(model, native):
    near(native.encode(frames(2)), model.encode(frames(2)), ENCODE)
    step = random_actions(1)
    one, other = (join(each.unroll(each.encode(frames()), step, None)) for each in (native, model))
    near(one, other, PREDICT)


@pytest.mark.parametrize("count", [1, 2])
def test_native_unrolls_within_the_golden_tolerance(model, native, count):
    context = model.encode(frames(count))
    actions, history = random_actions(3, 1), random_actions(1, 1) - 1 if count == 2 else None
    flat = Latents(context.visual.flatten(2, 4), context.proprio)
    near(join(native.unroll(flat, actions, history)), join(model.unroll(context, actions, history)), UNROLL)


def near(ours, theirs, tolerance):
    for part in ("visual", "proprio"):
        actual, expected = getattr(ours, part), getattr(theirs, part)
        torch.testing.assert_close(actual, expected.reshape(actual.shape), rtol=0, atol=tolerance)
