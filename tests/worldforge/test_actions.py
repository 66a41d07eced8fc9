"""Candidates and WorldForge's own `Action`, both ways, and a plan made of them."""

import numpy as np
import pytest
from worldforge import Action, WorldForge

from tests.provider.provider_calls import info_of
from worldforge_jepa_client.actions import ActionMapping
from worldforge_jepa_client.provider import make_provider


@pytest.fixture(scope="module")
def provider(target):
    provider = make_provider(target=target, timeout=30)
    yield provider
    provider.close()


@pytest.fixture
def mapping(provider):
    return ActionMapping(provider.runtime.client.model())


@pytest.fixture
def candidates():
    return np.random.default_rng(0).normal(size=(1, 3, 2, 10)).astype(np.float32)


def test_actions_come_back_as_the_same_candidates(mapping, candidates):
    plans = mapping.actions(candidates, make=Action)
    assert all(isinstance(action, Action) for plan in plans for action in plan)
    assert np.array_equal(mapping.candidates(plans), candidates)


def test_the_plain_form_is_worldforges_json(mapping, candidates):
    actions, plain = mapping.actions(candidates, make=Action), mapping.actions(candidates)
    assert [[action.to_dict() for action in plan] for plan in actions] == plain
    assert [[Action.from_dict(item) for item in plan] for plan in plain] == actions


def test_a_world_plans_with_them(tmp_path, provider, mapping, scene):
    candidates = np.random.default_rng(0).normal(size=(1, 3, 6, 10)).astype(np.float32)
    forge = WorldForge(state_dir=tmp_path, auto_register_remote=False)
    forge.register_provider(provider)
    info = info_of(scene)
    steps = mapping.steps(6)
    plans = mapping.actions(candidates, make=Action, max_steps=steps)
    plan = forge.create_world("two rooms", provider="mock").plan(
        goal="be where the goal image shows",
        provider="jepa-wms",
        candidate_actions=plans,
        score_info=info,
        score_action_candidates=candidates,
        execution_provider="mock",
        max_steps=steps,
    )
    best = provider.score_actions(info=info, action_candidates=candidates).best_index
    assert plan.actions == plans[best]
    assert len(plan.actions) == 30
