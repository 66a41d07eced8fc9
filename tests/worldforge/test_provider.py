"""The provider inside WorldForge, against a real server: its contract, its health, its settings."""

import importlib.util
import sys
import time

import pytest
from worldforge import WorldForgeError
from worldforge.providers.jepa_wms import JEPAWMSProvider
from worldforge.testing import assert_provider_contract

from tests.provider.provider_calls import PATIENCE, RIGHT, candidates
from worldforge_jepa_client.errors import InvalidArgumentError
from worldforge_jepa_client.provider import make_provider
from worldforge_jepa_client.provider.jepa_wms import GrpcJEPAWMSProvider
from worldforge_jepa_client.provider.runtime import GrpcRuntime


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
    for part in ("tiny", "cpu", "ms"):
        assert part in health.details
    assert target not in health.details


def test_the_profile_names_the_model_and_the_known_gaps(provider):
    assert provider.profile().supported_models == []
    provider.health()
    profile = provider.profile()
    assert (profile.default_model, profile.supported_models) == ("tiny", ["tiny"])
    assert profile.request_policy.request.timeout_seconds == PATIENCE
    assert profile.request_policy.request.retry.max_attempts == 1
    assert profile.implementation_status == "experimental"
    assert any("official weights" in note and "GPU" in note for note in profile.notes)


def test_torch_hub_is_the_servers(target):
    with pytest.raises(WorldForgeError, match="worldforge-jepa-server --model NAME=hub:MODEL"):
        GrpcJEPAWMSProvider.from_torch_hub(model_name="jepa_wm_pusht")


@pytest.mark.parametrize(
    "argument",
    [
        {"timeout": "1"},
        {"health_timeout": -1},
        {"name": " "},
        {"event_handler": 3},
        {"required_env_vars": "A"},
        {"model_path": 3},
        {"target": "host"},
    ],
)
def test_arguments_are_checked(argument):
    with pytest.raises(InvalidArgumentError, match=next(iter(argument))):
        make_provider(**argument)


def test_a_closed_runtime_returns_an_error_payload(target, info):
    runtime = GrpcRuntime(target)
    runtime.close()
    payload = runtime.score_actions(model_path="label", info=info, action_candidates=candidates())
    assert payload["error"]["type"] == "client_closed"


def test_without_a_server_the_provider_is_configured_but_not_healthy(dead_target):
    provider = make_provider(target=dead_target)
    started = time.monotonic()
    health = provider.health()
    assert time.monotonic() - started < 2
    assert provider.configured()
    assert not health.healthy
    assert health.details == "unavailable"


def test_health_gives_up_on_a_server_that_never_answers(silent_target):
    started = time.monotonic()
    health = make_provider(target=silent_target, health_timeout=0.3).health()
    assert time.monotonic() - started < 3
    assert not health.healthy
    assert "deadline" in health.details.lower()
    assert silent_target not in health.details


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

    monkeypatch.setenv("JEPA_WMS_MODEL_PATH", "/home/me/label")
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
