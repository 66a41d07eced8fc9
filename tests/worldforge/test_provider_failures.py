"""Failures through WorldForge, those of tests/fixtures among them: a ProviderError, and one event that says so."""

import time
from contextlib import closing

import numpy as np
import pytest
from worldforge.providers import ProviderError
from worldforge.providers.jepa_wms import JEPAWMSProvider

from tests.provider.provider_calls import PATIENCE, RIGHT, A, candidates
from tests.support.failures import assert_says, read, sent
from worldforge_jepa_client.provider import make_provider
from worldforge_jepa_client.provider.runtime import GrpcRuntime

REQUESTS, MODELS, PROVIDER = read("requests"), read("models"), read("provider")
GOOD = sent(REQUESTS["good"], {})


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
    """It is a ProviderError that says what is expected, and one failure event that says the same."""
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


# Failures of the connection


def test_the_server_is_down(dead_target, info):
    provider = make_provider(target=dead_target)
    started = time.monotonic()
    assert_fails(provider, f"...unavailable: {dead_target}: ...connect...", info=info, action_candidates=candidates())
    assert time.monotonic() - started < 2


def assert_chooses_right(provider, info):
    assert provider.score_actions(info=info, action_candidates=candidates()).best_index == RIGHT


def test_the_deadline_passes_while_the_model_runs(target, provider, info):
    with closing(make_provider(target=target, timeout=PATIENCE)) as impatient:
        assert_chooses_right(impatient, info)
        impatient.runtime.client.timeout = 0.2
        started = time.monotonic()
        long = np.zeros((1, 4096, 64, A), np.float32)
        assert_fails(impatient, "...deadline_exceeded: ...Deadline Exceeded...", info=info, action_candidates=long)
        assert time.monotonic() - started < 5
    assert_chooses_right(provider, info)


def test_a_server_that_never_answers(silent_target, info):
    provider = make_provider(target=silent_target, timeout=0.3)
    assert_fails(provider, "...deadline_exceeded: ...", info=info, action_candidates=candidates())


def test_a_closed_provider(target, info):
    provider = make_provider(target=target, timeout=PATIENCE)
    provider.close()
    assert_fails(provider, "...client_closed: the client is closed", info=info, action_candidates=candidates())
