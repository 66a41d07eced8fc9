"""`worldforge_jepa_client.diagnosis`: fit models pass, wrong inputs are named, unfit models are told apart."""

import json
import os
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from examples.two_room.logs import log_episodes, write_logs
from tests.diagnosis_faults import FAULTS
from worldforge_jepa_client import Client
from worldforge_jepa_client.diagnosis import Keys, Settings, diagnose, measures, render_html, search
from worldforge_jepa_client.diagnosis.hypotheses import hypotheses
from worldforge_jepa_client.diagnosis.logs.episodes import check_episodes
from worldforge_jepa_client.diagnosis.logs.sources import read_source
from worldforge_jepa_client.diagnosis.logs.windows import Shape, draw_foreign, draw_windows
from worldforge_jepa_client.diagnosis.probe import Budget, Probe
from worldforge_jepa_client.diagnosis.statistics import estimate, kendall_tau, ranks_of_first, sign_flip_p
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError
from worldforge_jepa_client.tools.cli import main

H, W, S = 3, 40, 24
FEW = Settings(windows=W, samples=S, horizon=H)
FEWER = Settings(windows=24, samples=12, horizon=2)
ALL_FAULTS = bool(os.environ.get("DIAGNOSE_ALL_FAULTS"))
QUICK = ("bgr", "one step late", "proprio swapped", "raw as normalized")
"""One fault of each kind, for every run; `make diagnose-faults` tries them all."""


@pytest.fixture(scope="module")
def episodes():
    return list(log_episodes(30, 50, 0))


@pytest.fixture(scope="module")
def served(start_server):
    names = ("ignores_actions", "predicts_the_present", "random_weights", "scores_only")
    models = [f"--model={name}=python:tests.diagnosis_models:{name}" for name in names]
    with Client(start_server("--model", "tiny", *models, "--threads", "1").target, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def small_measures(monkeypatch):
    for name, value in {"HORIZON_WINDOWS": 12, "HORIZON_SAMPLES": 12, "LATENT_WINDOWS": 20, "ORDER_FRAMES": 6}.items():
        monkeypatch.setattr(measures, name, value)
    monkeypatch.setattr(search, "SCREEN_WINDOWS", 24)
    monkeypatch.setattr(search, "SCREEN_SAMPLES", 16)


def test_the_embedded_model_is_fit_and_two_runs_are_equal(served, episodes):
    first, second = (diagnose(served, episodes, FEW) for _ in range(2))
    assert first.verdict.text == first.figures["verdict"] == "fit"
    assert first.figures["hypothesis"] is None
    assert first.figures["measures"]["control_other_goal"]["rank"]["mean"] > 0.35
    assert first.figures["measures"]["prediction"]["own"][-1]["mean"] < 0.2
    assert first.figures["recommendation"]["horizon"] == H
    assert first.figures == second.figures
    json.dumps(first.figures, allow_nan=False)


@pytest.mark.parametrize("name", FAULTS if ALL_FAULTS else QUICK)
def test_a_fault_in_the_logs_is_named(served, episodes, name):
    change, expected = FAULTS[name]
    windows = 120 if ALL_FAULTS else 60
    best = search.best_of(searched(served, [change(episode) for episode in episodes], windows))
    assert best is not None
    assert best.hypothesis.name == expected
    assert best.rank < best.sent_rank


def test_a_named_fault_is_the_verdict(served, episodes):
    change, expected = FAULTS["mirrored"]
    found = diagnose(served, map(change, episodes), FEW)
    assert found.verdict.text == f"inputs look wrong: {expected}"
    assert found.figures["hypothesis"] == expected
    assert "frame[:, :, ::-1]" in found.figures["remedy"]


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        ("ignores_actions", "the model ignores its actions"),
        ("predicts_the_present", "the model predicts the present"),
        ("random_weights", "its predictions are worse than the present frame"),
    ],
)
def test_unfit_models_are_told_apart(served, episodes, model, cause):
    found = diagnose(served, episodes, replace(FEWER, model=model))
    assert found.verdict.text == "no better than chance"
    assert found.verdict.cause.startswith(cause)


def test_a_model_that_only_scores_is_diagnosed_without_latents(served, episodes):
    found = diagnose(served, episodes, replace(FEWER, model="scores_only"))
    assert found.verdict.fit
    assert found.figures["measures"]["prediction"] is None
    assert "prediction: the model gives no latents" in found.figures["left_out"]


@pytest.mark.parametrize("calls", [1, W + 5])
def test_no_verdict_without_its_controls(served, episodes, calls):
    found = diagnose(served, episodes, replace(FEW, most_calls=calls))
    assert found.verdict.text.startswith("no verdict")
    assert found.figures["budget"]["calls"] <= calls


def test_no_verdict_from_few_episodes(served, episodes):
    assert "at least 10" in diagnose(served, episodes[:4], replace(FEWER, windows=8, samples=4)).verdict.text


def test_broken_episodes_are_named_and_counted(served, episodes, tmp_path):
    write_logs(tmp_path, 3, 50, 0)
    (tmp_path / "a_broken.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "b_short.npz", **{key: each[:4] for key, each in episodes[0].items()})
    np.savez(tmp_path / "c_keyless.npz", frames=episodes[0]["frames"])
    good, broken = check_episodes(read_source(f"npz:{tmp_path}"), Keys(), served.model("tiny"), 15)
    assert len(good) == 3
    assert [each.name for each in broken] == ["a_broken.npz", "b_short.npz", "c_keyless.npz"]
    assert "has 3 steps; a window needs 15" in broken[1].problem
    assert "has no key actions" in broken[2].problem


def test_frames_may_have_their_channels_last_and_other_names(served, episodes):
    renamed = [{"rgb": np.moveaxis(e["frames"], 1, 3), "action": e["actions"], "state": e["proprio"]} for e in episodes]
    good, broken = check_episodes(read_source(renamed), Keys(frames="rgb"), served.model("tiny"), 15)
    assert not broken
    np.testing.assert_array_equal(good[0].frames, episodes[0]["frames"])


@pytest.mark.parametrize("layout", ["groups", "robomimic", "stable-worldmodel"])
def test_hdf5(served, episodes, tmp_path, layout):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "log.hdf5"
    with h5py.File(path, "w") as file:
        if layout == "stable-worldmodel":
            lengths = [len(each["actions"]) for each in episodes]
            file["ep_len"], file["ep_offset"] = lengths, np.cumsum([0, *lengths[:-1]])
            for column, key in (("pixels", "frames"), ("action", "actions"), ("proprio", "proprio")):
                file[column] = np.concatenate([each[key][: len(each["actions"])] for each in episodes])
        for index, each in enumerate(episodes if layout != "stable-worldmodel" else ()):
            place = f"data/demo_{index}" if layout == "robomimic" else f"episode_{index}"
            for key, array in each.items():
                file[f"{place}/{key}"] = array
    good, broken = check_episodes(read_source(f"hdf5:{path}"), Keys(), served.model("tiny"), 15)
    assert (len(good), broken) == (len(episodes), [])
    np.testing.assert_array_equal(good[-1].actions[:40], episodes[-1]["actions"][:40])


def test_lerobot(served, episodes, tmp_path, monkeypatch):
    """A stand-in with the surface of a v3 dataset: rows of floats in 0..1, and where each episode's rows are."""

    class LeRobotDataset:
        def __init__(self, repo_id, root):
            self.rows = [
                {
                    "observation.images.top": each["frames"][t] / 255,
                    "observation.state": each["proprio"][t],
                    "action": each["actions"][t],
                }
                for each in episodes[:2]
                for t in range(len(each["actions"]))
            ]
            ends = [len(self.rows) // 2, len(self.rows)]
            rows = [
                {"episode_index": i, "dataset_from_index": ends[i - 1] if i else 0, "dataset_to_index": ends[i]}
                for i in range(2)
            ]
            self.meta = types.SimpleNamespace(episodes=rows)

        def __getitem__(self, index):
            return self.rows[index]

    module = types.SimpleNamespace(LeRobotDataset=LeRobotDataset)
    monkeypatch.setattr("importlib.import_module", lambda name: module)
    good, broken = check_episodes(read_source(f"lerobot:{tmp_path}"), Keys(), served.model("tiny"), 15)
    assert not broken
    np.testing.assert_array_equal(good[1].frames[:9], episodes[1]["frames"][:9])


def test_a_source_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(FailedPreconditionError, match=r"pip install 'worldforge-jepa\[hdf5\]'") as refused:
        list(read_source(f"hdf5:{tmp_path}"))
    assert refused.value.reason == "PACKAGE_MISSING"
    for source in ("zarr:x", "npz:/nowhere"):
        with pytest.raises(InvalidArgumentError, match="episodes"):
            read_source(source)


def test_the_page_escapes_what_it_shows(served, episodes):
    figures = diagnose(served, episodes[:2], replace(FEW, windows=4, samples=3)).figures
    figures["episodes"]["broken"] = [{"name": "<script>alert(1)</script>", "problem": "&"}]
    page = render_html(figures)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_command_prints_the_verdict_first(served, tmp_path, capsys):
    write_logs(tmp_path / "logs", 12, 50, 0)
    flags = ["--windows", "20", "--samples", "10", "--horizon", "2", "--json", str(tmp_path / "out" / "found.json")]
    code = main(["diagnose", "--target", served.target, "--episodes", f"npz:{tmp_path / 'logs'}", *flags])
    told = capsys.readouterr()
    assert (code, told.out.splitlines()[0]) == (0, "fit")
    assert told.err.startswith("scored ")
    assert json.loads((tmp_path / "out" / "found.json").read_text())["model"]["checkpoint_digest"]


def test_statistics():
    costs = np.array([[1.0, 2, 3, 0.5], [5.0, 5, 5, 5]])
    np.testing.assert_allclose(ranks_of_first(costs), [1 / 3, 0.5])
    episodes = np.repeat(np.arange(20), 5)
    ones = estimate(np.ones(100), episodes, 0)
    assert (ones.mean, ones.low, ones.high, ones.episodes) == (1, 1, 1, 20)
    assert sign_flip_p(np.ones(100), episodes, 0) < 1e-4
    assert 0.3 < sign_flip_p(np.tile([1.0, -1, 1, -1, 0], 20), episodes, 0) <= 1
    assert kendall_tau(np.arange(5), np.arange(5)) == 1


def searched(client, changed, count):
    spec, shape = client.model("tiny"), Shape(H, 5)
    good, _ = check_episodes(read_source(changed), Keys(), spec, shape.steps)
    windows = draw_windows(good, shape, count, 0)
    settings = {"actions_are_normalized": False, "budget": Budget(10**6, 10**10), "progress": lambda *_: None}
    with Probe(client, spec, **settings) as probe:
        wrong = hypotheses(good, spec, shape, False)
        return search.try_hypotheses(probe, windows, draw_foreign(windows, 47, 1), wrong, 2)
