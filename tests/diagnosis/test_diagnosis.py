"""`worldforge-jepa diagnose` on the embedded model: right logs are fit, and each fault in them is named."""

import json
import os

import numpy as np
import pytest

from examples.two_room.logs import log_episodes, write_logs
from tests.diagnosis.diagnosis_faults import FAULTS, small_measures  # noqa: F401
from worldforge_jepa_client.diagnosis import Settings, diagnose, render_html
from worldforge_jepa_client.diagnosis.statistics import estimate, kendall_tau, ranks_of_first, sign_flip_p
from worldforge_jepa_client.tools.cli import main

H, W, S = 2, 30, 12
FEW = Settings(windows=W, samples=S, horizon=H)
SEED = os.environ.get("DIAGNOSE_SEED")
"""Of the logs in which `make diagnose-faults` injects the whole table; without it, one fault of each kind is."""
QUICK = ("bgr", "in 0..1", "y sign", "proprio swapped", "raw as normalized")
CALLS_TO_A_VERDICT = 800
LATENTS_OF_ONE_CALL = 6 * 2 * 16 * 32 * 4
"""Bytes of H steps of two candidates, N tokens of D float32."""


@pytest.fixture(scope="module")
def episodes():
    return list(log_episodes(W, 50, int(SEED or 0)))


@pytest.fixture
def quick(request):
    """The small measures, but where the whole table is asked for."""
    if not SEED:
        request.getfixturevalue("small_measures")


def test_the_embedded_model_is_fit_and_two_runs_are_equal(client, episodes, small_measures):  # noqa: F811
    first, second = (diagnose(client, episodes, FEW) for _ in range(2))
    assert first.verdict.text == first.figures["verdict"] == "fit"
    assert first.figures["hypothesis"] is None
    assert first.figures["measures"]["control_other_goal"]["rank"]["mean"] > 0.35
    assert first.figures["measures"]["prediction"]["own"][-1]["mean"] < 0.2
    assert first.figures["recommendation"]["horizon"] == H
    assert first.figures["model"]["checkpoint_digest"]
    assert first.figures == second.figures
    page = render_html(first.figures)
    assert first.figures["model"]["checkpoint_digest"] in page
    assert "&quot;normalization&quot;" in page
    json.dumps(first.figures, allow_nan=False)


@pytest.mark.parametrize("name", FAULTS if SEED else QUICK)
def test_the_command_names_a_fault_in_the_logs(server, episodes, name, quick, tmp_path, capsys):
    fault = FAULTS[name]
    for index, episode in enumerate(episodes):
        np.savez(tmp_path / f"episode_{index:03}.npz", **fault.change(episode))
    flags = [] if SEED else ["--windows", f"{W}", "--samples", f"{S}", "--horizon", f"{H}"]
    bound = [] if SEED else ["--max-calls", f"{CALLS_TO_A_VERDICT}"]
    found = tmp_path / "found.json"
    source = ["--target", server.target, "--episodes", f"npz:{tmp_path}", "--json", f"{found}"]
    code = main(["diagnose", *source, *flags, *bound, *fault.flags])
    assert capsys.readouterr().out.splitlines()[0] == f"inputs look wrong: {fault.name}"
    assert code == 2
    figures = json.loads(found.read_text())
    assert figures["hypothesis"] == fault.name
    assert figures["remedy"]


def test_the_command_prints_the_verdict_first(server, tmp_path, capsys, small_measures):  # noqa: F811
    write_logs(tmp_path / "logs", 12, 50, 0)
    flags = ["--windows", "12", "--samples", "8", "--horizon", "1", "--report", str(tmp_path / "out" / "page.html")]
    code = main(["diagnose", "--target", server.target, "--episodes", f"npz:{tmp_path / 'logs'}", *flags])
    told = capsys.readouterr()
    assert (code, told.out.splitlines()[0]) == (0, "fit")
    assert told.err.startswith("scored ")
    assert (tmp_path / "out" / "page.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("bound", [{"most_calls": 1}, {"most_calls": W + 5}, {"most_bytes": 200_000}])
def test_no_verdict_without_its_controls(client, episodes, bound):
    found = diagnose(client, episodes, Settings(windows=W, samples=S, **bound))
    assert found.verdict.text.startswith("no verdict")
    assert found.figures["left_out"]
    used = found.figures["budget"]
    assert used["calls"] <= used["most_calls"]
    assert used["bytes"] <= used["most_bytes"] + LATENTS_OF_ONE_CALL


def test_no_verdict_from_few_episodes(client, episodes):
    few = Settings(windows=8, samples=4, horizon=1, most_calls=400)
    assert "at least 12" in diagnose(client, episodes[:4], few).verdict.text


def test_the_page_escapes_what_it_shows(client, episodes):
    figures = diagnose(client, episodes[:2], Settings(windows=4, samples=3, horizon=1, most_calls=20)).figures
    figures["episodes"]["broken"] = [{"name": "<script>alert(1)</script>", "problem": "&"}]
    page = render_html(figures)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_statistics():
    costs = np.array([[1.0, 2, 3, 0.5], [5.0, 5, 5, 5]])
    np.testing.assert_allclose(ranks_of_first(costs), [1 / 3, 0.5])
    episodes = np.repeat(np.arange(20), 5)
    ones = estimate(np.ones(100), episodes, 0)
    assert (ones.mean, ones.low, ones.high, ones.episodes) == (1, 1, 1, 20)
    assert sign_flip_p(np.ones(100), episodes, 0) < 1e-4
    assert 0.3 < sign_flip_p(np.tile([1.0, -1, 1, -1, 0], 20), episodes, 0) <= 1
    assert kendall_tau(np.arange(5), np.arange(5)) == 1
