"""`worldforge-jepa diagnose` on right logs of the embedded model: what it prints and writes, twice the same."""

import io
import json

import pytest

from examples.two_room.logs import write_logs
from tests.diagnosis.conftest import EPISODES, STEPS
from worldforge_jepa_client.diagnosis import Settings, diagnose, render_html
from worldforge_jepa_client.tools.cli import main

H, W, S = 2, 12, 8
LATENTS_OF_ONE_CALL = 6 * 2 * 16 * 32 * 4
"""Bytes of H steps of two candidates, N tokens of D float32."""


@pytest.fixture(scope="module")
def run_twice(diagnosed, tmp_path_factory):
    """The folder of two runs of the command with one seed, and for each its exit code and what it printed."""
    folder = tmp_path_factory.mktemp("fit")
    write_logs(folder / "logs", EPISODES, STEPS, 0)
    source = ["--target", diagnosed, "--episodes", f"npz:{folder / 'logs'}"]
    flags = ["--windows", f"{W}", "--samples", f"{S}", "--horizon", f"{H}"]
    told = []
    for run in ("first", "second"):
        files = ["--report", str(folder / run / "page.html"), "--json", str(folder / run / "found.json")]
        with pytest.MonkeyPatch.context() as monkeypatch:
            out, err = io.StringIO(), io.StringIO()
            monkeypatch.setattr("sys.stdout", out)
            monkeypatch.setattr("sys.stderr", err)
            told.append((main(["diagnose", *source, *flags, *files]), out.getvalue(), err.getvalue()))
    return folder, told


@pytest.fixture
def figures(run_twice):
    return json.loads((run_twice[0] / "first" / "found.json").read_text())


def test_right_logs_are_fit_beside_their_control(figures):
    assert figures["verdict"] == "fit"
    assert figures["hypothesis"] is figures["cause"] is None
    assert figures["left_out"] == []
    assert figures["measures"]["control_other_goal"]["rank"]["mean"] > 0.35
    assert figures["measures"]["prediction"]["own"][-1]["mean"] < 0.2
    assert figures["recommendation"]["horizon"] == H


def test_the_verdict_is_printed_first_and_the_exit_code_is_0(run_twice):
    code, out, _ = run_twice[1][0]
    assert (code, out.splitlines()[0]) == (0, "fit")


def test_two_runs_with_one_seed_write_equal_files(run_twice):
    folder, _ = run_twice
    for name in ("found.json", "page.html"):
        assert (folder / "first" / name).read_bytes() == (folder / "second" / name).read_bytes()


def test_the_page_and_the_json_hold_the_digest_and_the_contract(client, run_twice, figures):
    digest = client.model().checkpoint_digest
    assert digest.startswith("sha256:")
    assert figures["model"]["checkpoint_digest"] == digest
    assert figures["model"]["normalization"]["action_std"] == [1.5, 1.5]
    page = (run_twice[0] / "first" / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert digest in page
    assert "&quot;normalization&quot;" in page


@pytest.mark.parametrize("bound", [{"most_calls": 1}, {"most_calls": W + 5}, {"most_bytes": 200_000}])
def test_no_verdict_without_its_controls(client, episodes, bound):
    found = diagnose(client, episodes, Settings(windows=W, samples=S, **bound))
    assert found.verdict.text.startswith("no verdict")
    assert found.figures["left_out"]
    used = found.figures["budget"]
    assert used["calls"] <= used["most_calls"]
    assert used["bytes"] <= used["most_bytes"] + LATENTS_OF_ONE_CALL


def test_the_page_escapes_what_it_shows(figures):
    broken = [{"name": "<script>alert(1)</script>", "problem": "&"}]
    page = render_html({**figures, "episodes": {**figures["episodes"], "broken": broken}})
    assert "<script" not in page
    assert "&lt;script&gt;" in page
