"""The failures of tests/fixtures through WorldForge: a ProviderError, one event that says so, and the next call works."""

from contextlib import closing

import pytest
from worldforge.providers import ProviderError
from worldforge.providers.jepa_wms import JEPAWMSProvider

from tests.failures import assert_says, read, sent
from worldforge_jepa_client.provider import GrpcRuntime, make_provider

REQUESTS, MODELS, PROVIDER = read("requests"), read("models"), read("provider")
GOOD = sent(REQUESTS["good"], {})
PATIENCE = 30  # seconds a call may take on a busy machine


def arguments(values):
    """The arguments of a provider's `score_actions` from values by dotted path."""
    info = dict(values.get("extra_info", {}))
    for path, value in values.items():
        where, _, name = path.partition(".")
        if where in ("context", "options"):
            info[name.removesuffix(".visual").replace(".", "_")] = value
    return {"info": info, "action_candidates": values.get("action_candidates")}


@pytest.fixture(scope="module")
def healthy(faulty_target):
    with closing(make_provider(target=faulty_target, timeout=PATIENCE)) as provider:
        yield provider


def assert_fails(provider, expected, **call):
    events = []
    provider.event_handler = events.append
    with pytest.raises(ProviderError) as caught:
        provider.score_actions(**call)
    assert_says(str(caught.value), expected)
    assert [(event.phase, event.message) for event in events] == [("failure", str(caught.value))]


def assert_works(provider):
    assert len(provider.score_actions(**arguments(GOOD)).scores) == 4


@pytest.mark.parametrize("name", [name for name, case in REQUESTS["failures"].items() if "provider" in case])
def test_a_bad_request(healthy, faulty_target, name):
    case = REQUESTS["failures"][name]
    values = sent(REQUESTS["good"], case)
    with closing(make_provider(target=faulty_target, model=values.get("model"), timeout=PATIENCE)) as provider:
        assert_fails(provider, case["provider"], **arguments(values))
    assert_works(healthy)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_at_fault(healthy, faulty_target, name):
    _, reason, _ = MODELS[name]["error"]
    expected = f"JEPA-WMS runtime returned {reason.lower()}: {MODELS[name]['message']}"
    with closing(make_provider(target=faulty_target, model=name, timeout=PATIENCE)) as provider:
        assert_fails(provider, expected, **arguments(GOOD))
    assert_works(healthy)


@pytest.mark.parametrize("case", PROVIDER["no-object"].values(), ids=PROVIDER["no-object"])
def test_info_that_is_no_object(healthy, case):
    assert_fails(healthy, case["message"], info=case["info"], action_candidates=GOOD["action_candidates"])
    assert_works(healthy)


@pytest.mark.parametrize("case", PROVIDER["unconfigured"].values(), ids=PROVIDER["unconfigured"])
def test_a_provider_without_model_path_or_runtime(faulty_target, case):
    with GrpcRuntime(faulty_target) as runtime:
        provider = JEPAWMSProvider(model_path=case["model_path"], runtime=runtime if case["runtime"] else None)
        assert (provider.configured(), provider.health().healthy) == (False, False)
        assert provider.health().details == case["health"]
        assert_fails(provider, case["message"], **arguments(GOOD))
