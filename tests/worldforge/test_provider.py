"""The provider inside WorldForge, against a real server."""

import importlib.util
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from worldforge import Action, WorldForge
from worldforge.providers import ProviderError
from worldforge.providers.jepa_wms import JEPAWMSProvider
from worldforge.testing import assert_provider_contract

from worldforge_jepa_client.provider import GrpcRuntime, make_provider

S, H, A = 4, 4, 10
RIGHT, LEFT, UP, DOWN = range(S)
STEPS = [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0)]
"""One raw action of each candidate, px; H * A / 2 = 20 of the first end at the goal."""

PATIENCE = 30  # seconds a call may take on a busy machine; none of these tests is about speed


def candidates(order=(RIGHT, LEFT, UP, DOWN)):
    """float32 [1, S, H, A]: each candidate repeats its step."""
    return np.array([[np.tile(STEPS[index], (H, A // 2)) for index in order]], np.float32)


@pytest.fixture
def info(scene):
    return {
        "observation": scene["start_image"],
        "goal": scene["goal_image"],
        "observation_proprio": scene["start"],
        "goal_proprio": scene["goal"],
        "actions_are_normalized": False,
    }


@pytest.fixture
def events():
    return []


@pytest.fixture
def provider(target, events):
    provider = make_provider(target=target, timeout=PATIENCE, health_timeout=PATIENCE, event_handler=events.append)
    yield provider
    provider.close()


@pytest.fixture
def forge(tmp_path, provider):
    forge = WorldForge(state_dir=tmp_path, auto_register_remote=False)
    forge.register_provider(provider)
    return forge


def test_torch_is_not_needed(provider, info):
    provider.score_actions(info=info, action_candidates=candidates())
    assert importlib.util.find_spec("torch") is None
    assert "torch" not in sys.modules


def test_obeys_the_provider_contract(provider, info):
    assert isinstance(provider, JEPAWMSProvider)
    report = assert_provider_contract(provider, score_info=info, score_action_candidates=candidates())
    assert report.configured
    assert report.health.healthy
    assert report.exercised_operations == ["score"]
    assert provider.profile().supported_tasks == ["score"]
    assert provider.profile().required_env_vars == []


# Health


def test_health_names_model_and_device(provider, target):
    health = provider.health()
    assert health.healthy
    for part in ("tiny", "cpu", target, "ms"):
        assert part in health.details


def test_without_a_server_the_provider_is_configured_but_not_healthy(dead_target):
    provider = make_provider(target=dead_target)
    started = time.monotonic()
    health = provider.health()
    assert time.monotonic() - started < 2
    assert provider.configured()
    assert not health.healthy
    assert health.details.startswith("unavailable: ")
    assert dead_target in health.details


def test_health_gives_up_on_a_server_that_never_answers(silent_target):
    started = time.monotonic()
    health = make_provider(target=silent_target, health_timeout=0.3).health()
    assert time.monotonic() - started < 3
    assert not health.healthy
    assert "deadline" in health.details.lower()
    assert silent_target in health.details


def test_health_knows_an_unknown_model(target):
    health = make_provider(target=target, model="absent", health_timeout=PATIENCE).health()
    assert not health.healthy
    assert "'absent' is not served" in health.details


# Settings


def test_arguments_then_environment_then_defaults(monkeypatch):
    provider = make_provider()
    assert (provider.runtime.client.target, provider.runtime.model) == ("127.0.0.1:50051", "")
    assert provider.model_path == "default"

    monkeypatch.setenv("WORLDFORGE_JEPA_TARGET", "10.0.0.1:1")
    monkeypatch.setenv("JEPA_WMS_MODEL_NAME", "named")
    provider = make_provider()
    assert (provider.runtime.client.target, provider.runtime.model) == ("10.0.0.1:1", "named")
    assert provider.model_path == "named"

    monkeypatch.setenv("JEPA_WMS_MODEL_PATH", "label")
    assert make_provider().model_path == "label"
    provider = make_provider(target="10.0.0.2:2", model="mine", model_path="my-label")
    assert (provider.runtime.client.target, provider.runtime.model) == ("10.0.0.2:2", "mine")
    assert provider.model_path == "my-label"


def test_the_model_name_of_the_environment_is_the_one_served(monkeypatch, target, info):
    monkeypatch.setenv("JEPA_WMS_MODEL_NAME", "tiny")
    monkeypatch.setenv("JEPA_WMS_MODEL_PATH", "no-such-model")
    result = make_provider(target=target, timeout=PATIENCE).score_actions(info=info, action_candidates=candidates())
    assert result.metadata["model"] == "tiny"
    assert result.metadata["model_path"] == "no-such-model"


def test_worldforges_own_provider_takes_the_runtime(target, info):
    with GrpcRuntime(target, timeout=PATIENCE) as runtime:
        own = JEPAWMSProvider(model_path="label", runtime=runtime)
        assert own.score_actions(info=info, action_candidates=candidates()).best_index == RIGHT


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
    more = {"action_history": np.zeros((1, A), np.float32), "proprio_weight": 0.5, "note": {"episode": [1, 2]}}
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
    """What WorldForge would execute for each candidate: a move to where every packed action ends, in px."""
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


# Failures of the connection; those of requests and models are in test_provider_failures.py


def assert_fails(provider, info, action_candidates, words):
    """It is a ProviderError that says `words`, and one failure event that says the same."""
    events = []
    provider.event_handler = events.append
    with pytest.raises(ProviderError, match=words) as error:
        provider.score_actions(info=info, action_candidates=action_candidates)
    assert [(event.phase, event.message) for event in events] == [("failure", str(error.value))]


def assert_still_works(provider, info):
    assert provider.score_actions(info=info, action_candidates=candidates()).best_index == RIGHT


def test_the_server_is_down(dead_target, info):
    provider = make_provider(target=dead_target)
    started = time.monotonic()
    assert_fails(provider, info, candidates(), f"unavailable: {dead_target}: .*[Cc]onnect")
    assert time.monotonic() - started < 2


def test_the_deadline_passes_while_the_model_runs(target, provider, info):
    impatient = make_provider(target=target, timeout=PATIENCE)
    assert_still_works(impatient, info)
    impatient.runtime.client.timeout = 0.2
    started = time.monotonic()
    assert_fails(impatient, info, np.zeros((1, 4096, 64, A), np.float32), "deadline_exceeded: .*Deadline Exceeded")
    assert time.monotonic() - started < 5
    assert_still_works(provider, info)


def test_a_server_that_never_answers(silent_target, info):
    provider = make_provider(target=silent_target, timeout=0.3)
    assert_fails(provider, info, candidates(), "deadline_exceeded: ")


def test_a_closed_provider(target, info):
    provider = make_provider(target=target, timeout=PATIENCE)
    provider.close()
    assert_fails(provider, info, candidates(), "closed channel")
