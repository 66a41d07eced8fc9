"""One server with every model that is diagnosed, one log, and small measures."""

import pytest

from examples.two_room.logs import log_episodes
from worldforge_jepa_client import Client
from worldforge_jepa_client.diagnosis import measures, search

EPISODES, STEPS = 16, 30
MODELS = ("ignores_actions", "predicts_the_present", "random_weights", "fades_after_two_steps", "scores_only", "Bare")


@pytest.fixture(scope="session")
def diagnosed(start_shared_server):
    """The address of a server of the embedded model and of those in `models`."""
    served = [f"--model={name}=python:tests.diagnosis.models:{name}" for name in MODELS]
    return start_shared_server("--model", "tiny", *served, "--threads", "1").target


@pytest.fixture
def client(diagnosed):
    with Client(diagnosed, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def episodes():
    return list(log_episodes(EPISODES, STEPS, 0))


@pytest.fixture(scope="package", autouse=True)
def small_measures():
    """Few windows of each measure, for tests of bounded time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in {"HORIZON_WINDOWS": 6, "HORIZON_SAMPLES": 6, "FEW_WINDOWS": 6, "ORDER_FRAMES": 4}.items():
            monkeypatch.setattr(measures, name, value)
        for name, value in {"SCREEN_WINDOWS": 3, "SCREEN_SAMPLES": 8, "CONFIRMED": 3, "CONFIRM_SAMPLES": 12}.items():
            monkeypatch.setattr(search, name, value)
        yield
