"""Runs in an environment of its own, started by tests/provider/test_worldforge.py: Python 3.13, WorldForge, no torch."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.provider.provider_calls import PATIENCE, info_of
from tests.servers.addresses import dead_target, silent_target  # noqa: F401
from worldforge_jepa_client.provider import make_provider

try:
    import worldforge.providers.jepa_wms  # noqa: F401
    from worldforge import WorldForge
except ImportError:
    collect_ignore_glob = ["test_*.py"]

SCENE = Path(__file__).parents[1] / "data" / "two_room_scene.npz"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """No setting of the caller's shell reaches a provider."""
    for name in ("WORLDFORGE_JEPA_TARGET", "JEPA_WMS_MODEL_NAME", "JEPA_WMS_MODEL_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def target():
    """The address of a running server of `tiny`, the default, and `other`."""
    return address_in("WORLDFORGE_JEPA_TARGET")


@pytest.fixture(scope="session")
def faulty_target():
    """The address of a running server of `tiny`, the default, and all that can fail."""
    return address_in("FAULTY_TARGET")


def address_in(variable):
    address = os.environ.get(variable)
    if not address:
        pytest.skip(f"{variable} is not set: tests/provider/test_worldforge.py starts a server and sets it")
    return address


@pytest.fixture(scope="session")
def scene():
    """The arrays that tests/provider/test_worldforge.py renders: start and goal, images [3, 64, 64] and positions [2] in px."""
    with np.load(SCENE) as arrays:
        return dict(arrays)


@pytest.fixture
def info(scene):
    return info_of(scene) | {"actions_are_normalized": False}


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
