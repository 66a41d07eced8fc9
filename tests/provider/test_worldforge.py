"""The WorldForge provider: its runtime here, where WorldForge is absent, and itself in an environment that has it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples.two_room.env import Layout, observe
from tests.provider.provider_calls import info_of
from worldforge_jepa_client.provider import make_provider

ROOT = Path(__file__).parents[2]
SCENE = ROOT / "tests" / "data" / "two_room_scene.npz"
PYTHON = Path(os.environ.get("WORLDFORGE_PYTHON") or ROOT / ".venv-worldforge" / "bin" / "python")
CHECKOUT = os.environ.get("WORLDFORGE_REPO")
PYTHONPATH = os.pathsep.join([str(ROOT), *([str(Path(CHECKOUT) / "src")] if CHECKOUT else [])])
"""A checkout of WorldForge, if one is named, stands before the release that is installed."""
TIMEOUT_SECONDS = 300


def rendered_scene():
    """In the left room, nothing but floor between start and goal, which are 20 px apart; see `SCENE`."""
    layout = Layout(wall_x=42, door_y=32)
    arrays = {}
    for name, position in (("start", (12, 32)), ("goal", (32, 32))):
        seen = observe(np.array(position, np.float32), layout)
        arrays |= {name: seen["proprio"], f"{name}_image": seen["image"]}
    return arrays


def test_the_stored_scene_is_what_the_environment_renders():
    """WorldForge's environment has no gymnasium, so the scene is stored: np.savez_compressed(SCENE, **rendered)."""
    rendered = rendered_scene()
    with np.load(SCENE) as stored:
        assert sorted(stored) == sorted(rendered)
        for name, array in rendered.items():
            assert stored[name].dtype == array.dtype
            np.testing.assert_array_equal(stored[name], array)


@pytest.mark.timeout(TIMEOUT_SECONDS + 30)
@pytest.mark.skipif(not PYTHON.exists(), reason=f"no Python with WorldForge at {PYTHON}: see WORLDFORGE_PYTHON")
def test_the_provider_in_worldforge(server, faulty_server):
    finished = subprocess.run(
        [PYTHON, "-m", "pytest", ROOT / "tests" / "worldforge", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=os.environ
        | {"WORLDFORGE_JEPA_TARGET": server.target, "FAULTY_TARGET": faulty_server.target, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert finished.returncode == 0, finished.stdout


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="WorldForge may be installed")
def test_without_worldforge_the_provider_says_how_to_install_it():
    with pytest.raises(ImportError, match=r"WorldForge, on Python 3.13: pip install worldforge-ai"):
        make_provider()


@pytest.fixture
def info():
    return info_of(rendered_scene())


def test_a_success_is_plain_python(runtime, info):
    payload = runtime.score_actions(model_path="label", info=info, action_candidates=np.zeros((1, 3, 2, 10)))
    assert sorted(payload) == ["best_index", "lower_is_better", "metadata", "scores"]
    assert [type(score) for score in payload["scores"]] == [float] * 3
    assert (payload["best_index"], payload["lower_is_better"]) == (0, True)
    assert payload["metadata"]["model"] == "tiny"
    assert payload["metadata"]["timing"]["total_us"] > 0


@pytest.mark.parametrize(
    ("change", "type_", "message"),
    [
        ({"observation": None}, "missing_field", "info.observation: is missing"),
        ({"goal_proprio": [1.0]}, "invalid_shape", "info.goal_proprio: has shape (1, 1, 1); expected (1, any, 2)"),
        ({"note": {1, 2}}, "not_json", "info.note: is not JSON: Object of type set is not JSON serializable"),
        (
            {"objectives": "l1"},
            "unknown_field",
            "info.objectives: is no key that the model reads; did you mean objective?",
        ),
        ({"": 1}, "invalid_type", "info: has the key ''; expected non-empty strings"),
        ({"proprio_weight": True}, "invalid_type", "info.proprio_weight: is True; expected a number"),
    ],
)
def test_a_failure_is_an_error_payload(runtime, info, change, type_, message):
    payload = runtime.score_actions(model_path="label", info=info | change, action_candidates=np.zeros((1, 3, 2, 10)))
    assert payload == {"error": {"type": type_, "message": message}}


def test_info_that_is_no_object(runtime):
    payload = runtime.score_actions(model_path="label", info=[1], action_candidates=np.zeros((1, 3, 2, 10)))
    assert payload["error"]["message"] == "info: is a list; expected an object with observation and goal"
