"""The provider as WorldForge finds it by itself, and its lifecycle."""

import importlib.metadata
import json
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import tomllib
from worldforge import WorldForge
from worldforge.providers import ProviderError
from worldforge.testing import assert_provider_contract

from tests.provider.provider_calls import info_of
from tests.provider.worldforge_standin import discovered
from worldforge_jepa_client.provider import factory, make_provider

NAME, GROUP = "jepa-wms-grpc", "worldforge.providers"
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
DECLARED = EntryPoint(NAME, PROJECT["entry-points"][GROUP][NAME], GROUP)


@pytest.fixture
def at_target(monkeypatch, target):
    monkeypatch.setenv("WORLDFORGE_JEPA_TARGET", target)
    return target


def made(event_handler=None):
    return DECLARED.load()(event_handler=event_handler)


def score_inputs(scene):
    return {"info": info_of(scene), "action_candidates": [[[[0.0] * 10]]]}


def test_without_a_target_in_the_environment_it_is_not_configured():
    provider = made()
    assert provider.name == NAME
    assert not provider.configured()
    assert provider.profile().required_env_vars == ["WORLDFORGE_JEPA_TARGET"]
    health = provider.health()
    assert (health.healthy, health.details) == (False, "missing WORLDFORGE_JEPA_TARGET")
    for result in (provider.preflight(), provider.warmup()):
        assert (result.status, result.ready, result.skip_reason) == ("skipped", False, health.details)


def test_with_a_target_it_scores_under_its_own_name(at_target, scene):
    events = []
    provider = made(events.append)
    inputs = score_inputs(scene)
    report = assert_provider_contract(
        provider, score_info=inputs["info"], score_action_candidates=inputs["action_candidates"]
    )
    assert report.configured
    assert report.health.healthy
    assert {(event.provider, event.phase) for event in events} == {(NAME, "success")}


def test_the_lifecycle(at_target, scene):
    provider = made()
    ready = provider.preflight()
    assert (ready.provider, ready.hook, ready.status, ready.ready) == (NAME, "preflight", "ready", True)
    assert (ready.evidence["model"], ready.evidence["task_family"]) == ("tiny", "two_room")
    assert ready.evidence["checkpoint_digest"].startswith("sha256:")
    assert at_target not in json.dumps(ready.to_dict())

    warm = provider.warmup()
    assert (warm.hook, warm.status, warm.evidence["candidate_count"]) == ("warmup", "ready", 8)
    assert provider.score_actions(**score_inputs(scene)).best_index == 0

    assert warm.to_dict()["skip_reason"] == ""
    closed = provider.teardown()
    assert (closed.hook, closed.status, closed.ready) == ("teardown", "ready", True)
    with pytest.raises(ProviderError, match="client is closed"):
        provider.score_actions(**score_inputs(scene))


def test_a_server_that_is_down_fails_the_preflight_and_is_not_named(dead_target):
    provider = make_provider(target=dead_target)
    for result in (provider.preflight(), provider.warmup()):
        assert (result.status, result.ready, result.details) == ("failed", False, "unavailable")


def test_a_model_that_is_not_served_fails_the_preflight_and_is_named(target):
    result = make_provider(target=target, model="absent").preflight()
    assert result.status == "failed"
    assert result.details == "model_not_found: model: 'absent' is not served; served: tiny, other"


def test_by_the_rules_of_discovery_it_is_registered_where_a_target_is_named(at_target, scene):
    events = []
    provider = discovered(DECLARED, events.append)
    provider.score_actions(**score_inputs(scene))
    assert [event.phase for event in events] == ["success"]


def test_by_the_rules_of_discovery_it_is_left_alone_where_none_is():
    assert discovered(DECLARED) is None


# WorldForge's own discovery, which release 0.5 has not


@pytest.fixture
def found(monkeypatch):
    pytest.importorskip("worldforge.providers.entry_points", reason="this WorldForge looks for no entry points")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [DECLARED] if group == GROUP else [])


def test_worldforge_registers_it_where_a_target_is_named(found, at_target, tmp_path, scene):
    forge = WorldForge(state_dir=tmp_path)
    assert [entry.name for entry in forge.entry_point_discovery().entries] == [NAME]
    assert NAME in forge.providers()
    assert forge.score_actions(NAME, **score_inputs(scene)).provider == NAME
    status = forge.provider_lifecycle_status(NAME, run_warmup=True, run_teardown=True)
    assert (status.status, status.ready) == ("ready", True)


def test_worldforge_leaves_it_alone_where_none_is(found, tmp_path):
    forge = WorldForge(state_dir=tmp_path)
    assert forge.entry_point_discovery().skipped == ()
    assert NAME not in forge.providers()


def test_worldforge_says_why_it_could_not_make_one(found, tmp_path, monkeypatch):
    def failing(**_):
        raise ImportError("the provider needs WorldForge")

    monkeypatch.setattr(factory, "make_provider", failing)
    forge = WorldForge(state_dir=tmp_path)
    (skipped,) = forge.entry_point_discovery().skipped
    assert skipped.name == NAME
    assert "the provider needs WorldForge" in skipped.reason
