"""`MPCEncoder`: WorldForge's planner samples actions, and the scene stays on this side."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.provider.provider_calls import info_of
from tests.provider.test_worldforge import rendered_scene
from tests.provider.worldforge_standin import LatentMPCController, PlannerConfig, ScoreCandidateBatch, action
from worldforge_jepa_client.errors import InvalidArgumentError, OutOfRangeError
from worldforge_jepa_client.provider.mpc import MPCEncoder

H, S = 2, 8


@pytest.fixture
def encoder(runtime):
    return MPCEncoder(runtime, ScoreCandidateBatch)


def scene_of(rendered):
    """Arrays as `keep` takes them."""
    return {
        "observation": {"visual": rendered["start_image"], "proprio": rendered["start"]},
        "goal": {"visual": rendered["goal_image"], "proprio": rendered["goal"]},
    }


class Forge:
    """As WorldForge, with one provider."""

    def __init__(self, runtime):
        self._runtime = runtime

    def score_actions(self, _, **call):
        payload = self._runtime.score_actions(model_path="label", **call)
        assert "error" not in payload, payload
        return SimpleNamespace(scores=payload["scores"])


def test_a_planner_of_json_finds_the_goal(runtime, encoder):
    infos = encoder.keep(**scene_of(rendered_scene()))
    config = encoder.mapping.planner_config(horizon=3)
    assert config == {
        "horizon": 15,
        "action_kind": "two_room",
        "action_parameter_bounds": {"dx": (-2.5, 2.5), "dy": (-2.5, 2.5)},
    }
    told = PlannerConfig(**config, execute_k=15, seed=0)
    planner = LatentMPCController(forge=Forge(runtime), score_provider="jepa-wms", config=told, encoder=encoder)
    result = planner.plan_step(observation_info=infos[0], goal_info=infos[1])
    assert result.iteration_best_scores[-1] < result.iteration_best_scores[0]
    assert sum(step.parameters["dx"] for step in result.actions) > 10  # the goal is 20 px to the right


def test_a_kept_scene_scores_as_the_scene_itself(runtime, encoder):
    rendered = rendered_scene()
    infos = encoder.keep(**scene_of(rendered))
    candidates = np.random.default_rng(0).normal(size=(1, S, H, 10)).astype(np.float32)
    plans = [
        [action(step["type"], step["parameters"].keys(), step["parameters"].values()) for step in plan]
        for plan in encoder.mapping.actions(candidates)
    ]
    batch = encoder.encode(plans, observation_info=infos[0], goal_info=infos[1])
    kept = Forge(runtime).score_actions("", info=batch.info, action_candidates=batch.action_candidates)
    whole = Forge(runtime).score_actions("", info=info_of(rendered), action_candidates=candidates)
    np.testing.assert_allclose(kept.scores, whole.scores, rtol=1e-5)


def test_infos_of_two_scenes_are_refused(encoder):
    rendered = rendered_scene()
    first, _ = encoder.keep(**scene_of(rendered))
    _, second = encoder.keep(**scene_of(rendered | {"goal": rendered["start"]}))
    with pytest.raises(InvalidArgumentError, match="goal_info: is of another scene"):
        encoder.encode([], observation_info=first, goal_info=second)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"scene_handle": "absent"}, "info.scene_handle: is 'absent'; expected one of the last 8 handles given"),
        ({"scene_handle": "absent", "goal": [[1.0, 2.0]]}, "info.goal: is set beside scene_handle"),
    ],
)
def test_a_handle_that_names_no_scene_is_refused(runtime, info, message):
    payload = runtime.score_actions(model_path="label", info=info, action_candidates=np.zeros((1, S, H, 10)))
    assert payload["error"]["message"].startswith(message)


def test_plans_that_world_plan_would_cut_are_refused(encoder):
    candidates = np.zeros((1, S, 6, 10))
    assert encoder.mapping.steps(6) == 30
    assert len(encoder.mapping.actions(candidates, max_steps=30)[0]) == 30
    with pytest.raises(OutOfRangeError, match=r"plans have 30 actions; World\.plan would cut them to max_steps, 20"):
        encoder.mapping.actions(candidates, max_steps=20)
