"""`hub:NAME` loads, says what it loaded, and leaves the process as it was; tests/fixtures/loading.json has what goes wrong."""

import logging
import os
import random
import sys

import numpy as np
import pytest
import torch

from tests.external.hub import NAMES, STAND_IN, A, H, S, arrays, frames, join, load, options_of
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import InvalidArgumentError
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import ModelLoadError, Observation


@pytest.mark.parametrize("name", CATALOG)
def test_every_published_name_is_known(name):
    spec, entry = load(name).spec, CATALOG[name]
    assert (spec.action_dim, spec.proprio_dim) == (entry.action_dim, entry.proprio_dim)
    assert (spec.objective, spec.proprio_weight) == (entry.objective, entry.proprio_weight)
    assert f"{spec.family}_{spec.environment}" == name.replace("_oss", "_droid")
    assert (spec.encoder, spec.planner) == (entry.encoder.name, entry.environment.planner)


def test_there_are_twelve_of_them():
    assert len(CATALOG) == 12


def test_a_model_that_is_not_what_is_published_under_its_name_is_refused(monkeypatch):
    monkeypatch.setitem(CATALOG, "homemade", CATALOG["jepa_wm_wall"])
    with pytest.raises(ModelLoadError, match="action_dim 6 and proprio_dim 4; the published jepa_wm_wall has 10 and 2"):
        load("homemade")


def test_a_model_without_proprio_takes_bare_images():
    model = load("jepa_wm_droid")
    assert (model.spec.proprio, model.spec.proprio_weight, model.spec.action_dim) == (None, 0.0, 7)
    assert model.spec.planner.high[-1] == 0.75
    *_, last = model.unroll(model.encode(Observation(frames().visual)), torch.ones(2, 1, 7), None)
    assert last.proprio is None


def test_a_pose_that_the_predictor_takes_but_does_not_give_is_moved_by_the_action():
    model = load("vjepa2_ac_oss")
    assert (model.spec.proprio_dim, model.spec.proprio_weight) == (7, 0.0)
    seen, actions = Observation(frames().visual, torch.ones(1, 1, 7)), torch.ones(H, S, 7)
    context = model._model.encode({"visual": seen.visual, "proprio": seen.proprio})
    expected = model._model.unroll(context, act_suffix=actions)
    predicted = join(model.unroll(model.encode(seen), actions, None))
    assert torch.equal(predicted.visual.transpose(0, 1), expected["visual"][1:])
    assert torch.equal(predicted.proprio.transpose(0, 1), expected["proprio"][1:])


def test_an_unpublished_model_is_described_by_its_attributes():
    spec = load("homemade").spec
    assert (spec.action_dim, spec.raw_action_dim, spec.frameskip, spec.proprio_dim) == (6, 2, 3, 4)
    assert (spec.environment, spec.planner, spec.proprio_weight) == ("", None, 0.1)


@pytest.mark.parametrize(
    ("repo", "expected"),
    [
        ("facebookresearch/jepa-wms", "neither the absolute path of a folder nor owner/name:COMMIT"),
        ("facebookresearch/jepa-wms:main", "neither the absolute path of a folder nor owner/name:COMMIT"),
        ("tests/external/upstream_standin", "neither the absolute path of a folder nor owner/name:COMMIT"),
    ],
)
def test_a_repository_that_may_change_is_refused(repo, expected):
    with pytest.raises(ModelLoadError, match=expected):
        load("homemade", repo=repo)


def test_no_code_of_the_working_directory_runs(tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    (tmp_path / "hubconf.py").write_text("raise SystemExit('code of the working directory ran')")
    (tmp_path / "a_package_that_nobody_has.py").write_text("raise SystemExit('code of the working directory ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    with pytest.raises(ModelLoadError, match=r"repo=\. is neither the absolute path"):
        load("homemade", repo=".")
    with pytest.raises(ModelLoadError, match="No module named 'a_package_that_nobody_has'"):
        load("needs_a_package")


def test_heads_are_kept_where_asked_for():
    assert "image_head" in load("homemade", heads="true")._model.heads


@pytest.mark.parametrize("repo", ["stand-in", "upstream"])
@pytest.mark.parametrize("name", NAMES)
def test_loading_leaves_the_process_as_it_was(repo, name, capfd, monkeypatch):
    options = options_of(repo)
    for module in [key for key in sys.modules if key.split(".")[0] in ("hubconf", "app", "evals", "src")]:
        monkeypatch.delitem(sys.modules, module)  # so that their import side effects happen again
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    random.seed(3), np.random.seed(3), torch.manual_seed(3)

    def state():
        root = logging.getLogger()
        return (
            *(random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(), root.level),
            *(root.handlers[:], os.environ["CUDA_VISIBLE_DEVICES"], torch.backends.cudnn.benchmark),
            torch.hub._validate_not_a_forked_repo,
        )

    before = state()
    load(name, **options)
    assert state() == before
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_that_is_not_there_is_an_error_and_no_silent_cpu():
    with pytest.raises(ModelLoadError, match="device cuda cannot be used"):
        load("jepa_wm_pusht", device="cuda")


@pytest.fixture(scope="module")
def client(start_server):
    """Of a server with the stand-in's jepa_wm_pusht, called pusht."""
    server = start_server("--model", f"pusht=hub:jepa_wm_pusht,repo={STAND_IN}")
    with Client(server.target, timeout=30) as client:
        yield client
    assert server.terminate() == (0, "")  # nothing on stdout but its one line


def score(client, now=None, goal=None, candidates=None, **keywords):
    now, goal = (arrays(frames()) if each is None else each for each in (now, goal))
    candidates = np.ones((1, S, H, A), np.float32) if candidates is None else candidates
    return client.score(observation=now, goal=goal, action_candidates=candidates, **keywords)


def test_the_server_publishes_upstreams_settings(client):
    entry = CATALOG["jepa_wm_pusht"]
    assert client.model().planner == entry.environment.planner
    assert client.model().environment == "pusht"


def test_a_plan_takes_upstreams_settings(client):
    now, goal = arrays(frames()), arrays(frames(seed=5))
    published = client.model().planner
    first = next(iter(client.plan(observation=now, goal=goal)))
    assert (first.iterations, len(first.mean)) == (published.iterations, published.horizon) == (30, 6)
    assert client.plan(observation=now, goal=goal, iterations=1, horizon=2).result().actions.shape == (2, A)


def test_a_droid_model_is_planned_with_its_bounds_and_its_std(start_server):
    server = start_server("--model", f"droid=hub:jepa_wm_droid,repo={STAND_IN}")
    with Client(server.target, timeout=30) as client:
        now, goal = ({"visual": frames(seed=seed).visual.numpy()} for seed in (0, 5))
        told = client.plan(observation=now, goal=goal, iterations=2, seed=3).result()
        bound = np.array(client.model().planner.high, np.float32)
        assert bound.tolist() == np.float32([0.1] * 6 + [0.75]).tolist()
        explicit = {"horizon": 3, "initial_std": 0.1, "low": -bound, "high": bound, "samples": 300, "elites": 10}
        same = client.plan(observation=now, goal=goal, iterations=2, seed=3, **explicit).result()
        np.testing.assert_array_equal(told.actions, same.actions)
        assert len(told.actions) == 3
        assert (np.abs(told.best_actions) <= bound).all()


def test_only_the_last_goal_frame_is_compared(client):
    goal = arrays(frames(3))
    last = {name: array[:, -1:] for name, array in goal.items()}
    np.testing.assert_array_equal(score(client, goal=goal).scores, score(client, goal=last).scores)


def test_several_context_frames_need_the_actions_between_them(client):
    history = np.ones((1, 2, A), np.float32)
    with_history = score(client, now=arrays(frames(3)), action_history=history)
    other = score(client, now=arrays(frames(3)), action_history=-history)
    assert not np.array_equal(with_history.scores, other.scores)
    with pytest.raises(
        InvalidArgumentError, match="action_history: is missing; 3 observation frames need the 2 actions"
    ):
        score(client, now=arrays(frames(3)))


def test_a_bare_image_is_told_what_to_add(client):
    bare = {"visual": frames().visual.numpy()}
    with pytest.raises(InvalidArgumentError, match=r"proprio: is missing; model pusht needs raw proprio \(1, any, 4\)"):
        score(client, now=bare, goal=bare)


def changed(**parts):
    return {
        name: part(array.astype(np.float32)) if (part := parts.get(name)) else array
        for name, array in arrays(frames()).items()
    }


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"now": changed(visual=lambda pixels: pixels / 255)}, "context.observation.visual"),
        ({"goal": changed(visual=lambda pixels: pixels / 255)}, "context.goal.visual"),
        ({"now": changed(visual=lambda pixels: pixels * np.nan)}, "context.observation.visual"),
        ({"now": changed(proprio=lambda values: values * np.nan)}, "context.observation.proprio"),
        ({"now": changed(proprio=lambda values: values[..., :1])}, "context.observation.proprio"),
        ({"now": changed(proprio=lambda values: values.repeat(2, 1))}, "context.observation.proprio"),
        ({"now": changed(visual=lambda pixels: pixels.repeat(2, 0))}, "context.observation.visual"),
        ({"candidates": np.ones((1, S, 5, 2), np.float32)}, "action_candidates"),
        ({"candidates": np.full((1, S, H, A), np.nan)}, "action_candidates"),
        ({"candidates": np.ones((2, S, H, A), np.float32)}, "action_candidates"),
    ],
)
def test_inputs_that_upstream_silently_accepts_are_refused(client, arguments, field):
    with pytest.raises(InvalidArgumentError) as caught:
        score(client, **arguments)
    assert caught.value.field == field
