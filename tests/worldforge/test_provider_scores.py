"""Scores, plans and events of the provider inside WorldForge, against a real server."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from worldforge import Action, WorldForge
from worldforge.providers import ProviderError

from tests.provider.provider_calls import DOWN, LEFT, PATIENCE, RIGHT, UP, A, H, S, candidates
from worldforge_jepa_client.provider import make_provider

# Scores


@pytest.mark.parametrize("order", [(RIGHT, LEFT, UP, DOWN), (DOWN, UP, RIGHT, LEFT)])
def test_the_candidate_that_reaches_the_goal_wins(forge, info, order):
    result = forge.score_actions("jepa-wms", info=info, action_candidates=candidates(order))
    assert result.best_index == order.index(RIGHT)
    assert result.best_score == min(result.scores)
    assert result.lower_is_better


@pytest.mark.parametrize("objective", ["l2", "l1", "cosine"])
def test_every_objective_chooses_the_same_candidate(forge, info, objective):
    result = forge.score_actions("jepa-wms", info=info | {"objective": objective}, action_candidates=candidates())
    assert result.best_index == RIGHT
    assert result.metadata["objective"] == objective


def test_nested_lists_score_as_arrays_do(forge, info):
    lists = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in info.items()}
    arrays = forge.score_actions("jepa-wms", info=info, action_candidates=candidates())
    nested = forge.score_actions("jepa-wms", info=lists, action_candidates=candidates().tolist())
    assert nested.best_index == RIGHT
    assert nested.scores == pytest.approx(arrays.scores, rel=1e-4)


def test_history_and_optional_keys_arrive(forge, info):
    scene_keys = ("observation", "goal", "observation_proprio", "goal_proprio")
    frames = {name: np.repeat(info[name][None], 2, axis=0) for name in scene_keys}
    more = {"action_history": np.zeros((1, A), np.float32), "proprio_weight": 0.5}
    result = forge.score_actions("jepa-wms", info=info | frames | more, action_candidates=candidates())
    assert result.best_index == RIGHT
    assert result.metadata["proprio_weight"] == 0.5
    assert result.metadata["actions_are_normalized"] is False


def test_proprio_of_the_goal_is_optional_at_weight_zero(forge, info):
    info = info | {"proprio_weight": 0}
    del info["goal_proprio"]
    assert forge.score_actions("jepa-wms", info=info, action_candidates=candidates()).best_index == RIGHT


def test_metadata_is_json_and_says_what_was_computed(forge, info):
    result = forge.score_actions("jepa-wms", info=info, action_candidates=candidates())
    metadata = json.loads(json.dumps(result.to_dict()))["metadata"]
    assert metadata["score_units"] == "latent_cost"
    assert metadata["score_type"] == "cost"
    assert metadata["candidate_count"] == S
    assert (metadata["model"], metadata["model_path"]) == ("tiny", "default")
    assert metadata["timing"]["total_us"] >= metadata["timing"]["unroll_us"] > 0


def test_threads_share_a_provider(provider, info):
    orders = [tuple(np.random.default_rng(seed).permutation(S)) for seed in range(16)]

    def choose(order):
        return provider.score_actions(info=info, action_candidates=candidates(order)).best_index

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(choose, orders)) == [order.index(RIGHT) for order in orders]


# Planning


def plans(start):
    """Return WorldForge's actions for each candidate: a move to where every packed action ends, in px."""
    ends = start + np.cumsum(candidates().reshape(S, H, A // 2, 2).sum(2), axis=1)
    return [[Action.move_to(float(x), float(y), 0.0) for x, y in path] for path in ends]


def test_world_plan_takes_the_actions_of_the_best_candidate(forge, info, scene):
    world = forge.create_world("two rooms", provider="jepa-wms")
    actions = plans(scene["start"])
    plan = world.plan(
        goal="be where the goal image shows",
        candidate_actions=actions,
        score_info=info,
        score_action_candidates=candidates(),
        execution_provider="mock",
    )
    assert plan.provider == "jepa-wms"
    assert plan.metadata["planning_mode"] == "score"
    assert plan.metadata["candidate_count"] == S
    assert plan.actions == actions[RIGHT]
    assert len(world.execute_plan(plan).actions_applied) == H


def test_world_plan_fails_with_the_servers_reason(forge, info, scene):
    world = forge.create_world("two rooms", provider="jepa-wms")
    with pytest.raises(ProviderError, match=r"action_candidates: has shape \(1, 4, 4, 9\)"):
        world.plan(
            goal="be where the goal image shows",
            candidate_actions=plans(scene["start"]),
            score_info=info,
            score_action_candidates=candidates()[..., :9],
        )


# Events


def test_a_success_is_one_event(provider, events, info):
    result = provider.score_actions(info=info, action_candidates=candidates())
    (event,) = events
    assert (event.provider, event.operation, event.phase) == ("jepa-wms", "score", "success")
    assert event.metadata["candidate_count"] == S
    assert event.metadata["best_index"] == result.best_index
    assert event.duration_ms > 0


def test_a_failure_is_one_event_with_the_message(provider, events, info):
    with pytest.raises(ProviderError) as error:
        provider.score_actions(info=info | {"objective": "l7"}, action_candidates=candidates())
    (event,) = events
    assert (event.operation, event.phase, event.message) == ("score", "failure", str(error.value))


def test_the_forge_hands_its_event_handler_on(tmp_path, target, events, info):
    forge = WorldForge(state_dir=tmp_path, auto_register_remote=False, event_handler=events.append)
    forge.register_provider(make_provider(target=target, timeout=PATIENCE))
    forge.score_actions("jepa-wms", info=info, action_candidates=candidates())
    assert [event.phase for event in events] == ["success"]
