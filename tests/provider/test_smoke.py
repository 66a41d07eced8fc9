"""`worldforge-jepa smoke`: scores by the real path, a summary, and a manifest that holds nothing secret."""

import hashlib
import json
from datetime import datetime
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.provider.worldforge_standin import assert_valid_manifest
from worldforge_jepa_client.provider.redaction import redacted
from worldforge_jepa_client.tools import local_server
from worldforge_jepa_client.tools.cli import main
from worldforge_jepa_client.tools.run_manifest import ENVIRONMENT, sanitized

# What `worldforge.smoke.run_manifest.validate_run_manifest` asks for, schema 1.
TEXTS = ("run_id", "created_at", "package_version", "provider_profile", "capability", "status")
SHAPES = {
    "observation": [1, 2, 3, 64, 64],
    "observation_proprio": [1, 2, 2],
    "goal": [1, 1, 3, 64, 64],
    "goal_proprio": [1, 1, 2],
    "action_history": [1, 1, 10],
    "action_candidates": [1, 5, 3, 10],
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def smoke(tmp_path):
    """Runs the command; its exit code, summary and manifest."""

    def run(*arguments):
        summary, manifest = tmp_path / "run" / "summary.json", tmp_path / "run" / "run_manifest.json"
        code = main(["smoke", *arguments, "--json-output", str(summary), "--run-manifest", str(manifest)])
        written = json.loads(manifest.read_text())
        assert_manifest(written)
        assert written["artifact_paths"] == {"summary_json": "summary.json"}
        assert written["result_digest"] == f"sha256:{hashlib.sha256(summary.read_bytes()).hexdigest()}"
        return code, json.loads(summary.read_text()), written

    return run


def assert_manifest(manifest):
    assert manifest["schema_version"] == 1
    assert all(manifest[name].strip() for name in TEXTS)
    assert manifest["command_argv"][:2] == ["worldforge-jepa", "smoke"]
    assert all(word.strip() for word in manifest["command_argv"])
    assert isinstance(manifest["event_count"], int)
    assert isinstance(manifest["runtime_assets"], list)
    assert isinstance(manifest["input_summary"], dict)
    assert [item["name"] for item in manifest["env_summary"]] == list(ENVIRONMENT)
    assert datetime.fromisoformat(manifest["created_at"]).tzinfo
    assert sanitized(manifest) == manifest
    assert_valid_manifest(manifest)
    assert manifest["runtime_manifest_id"] == "jepa-wms:schema-1"
    private = " ".join(manifest["command_argv"])
    assert redacted(private) == private


def test_a_run_that_passes(server, smoke, capsys):
    code, summary, manifest = smoke("--target", server.target, "--samples", "5", "--horizon", "3")
    assert (code, manifest["status"]) == (0, "passed")
    assert summary["path"] == "GrpcRuntime, as WorldForge is not installed here"
    scores = summary["result"]["scores"]
    described = manifest["input_summary"]
    assert described["inputs"]["shapes"] == SHAPES
    assert described["inputs"]["digest"] == manifest["input_digest"] == summary["inputs"]["digest"]
    assert described["score_summary"] == {
        "candidate_count": 5,
        "lower_is_better": True,
        "best_index": scores.index(min(scores)),
        "best_score": min(scores),
    }
    versions = described["runtime_version"]
    assert (versions["model"], versions["model_class"], versions["device"]) == ("tiny", "Jepa", "cpu")
    assert versions["torch"][0].isdigit()
    assert versions["checkpoint_digest"].startswith("sha256:")
    assert versions["weights_digest"].startswith("sha256:")
    assert (versions["repository"], versions["pretrained"]) == ("worldforge-jepa", True)
    assert "smoke passed through GrpcRuntime" in capsys.readouterr().out


def test_equal_seeds_give_equal_inputs_and_scores(server, smoke):
    first, again, other = (smoke("--target", server.target, "--seed", seed)[1] for seed in ("1", "1", "2"))
    assert first["inputs"] == again["inputs"] != other["inputs"]
    assert first["result"]["scores"] == again["result"]["scores"] != other["result"]["scores"]


def test_it_starts_a_server_of_its_own(smoke):
    code, summary, manifest = smoke("--start", "--model", "mine=tiny")
    assert code == 0
    assert summary["runtime_version"]["model"] == "mine"
    assert "--start" in manifest["command_argv"]
    assert "--target" not in manifest["command_argv"]


def test_the_environment_names_target_and_model_and_stays_private(server, smoke, monkeypatch):
    monkeypatch.setenv("WORLDFORGE_JEPA_TARGET", server.target)
    monkeypatch.setenv("JEPA_WMS_MODEL_NAME", "other")
    monkeypatch.setenv("JEPA_WMS_MODEL_PATH", "/home/somebody/private")
    code, summary, manifest = smoke()
    assert (code, summary["runtime_version"]["model"]) == (0, "other")
    assert [item["present"] for item in manifest["env_summary"]] == [True, True, True, False]
    assert server.target not in json.dumps(manifest)
    assert "private" not in json.dumps(manifest)


def test_a_server_that_is_down(dead_target, smoke, capsys):
    code, summary, manifest = smoke("--target", dead_target, "--timeout", "0.3")
    assert (code, manifest["status"], manifest["event_count"]) == (1, "failed", 0)
    assert summary["error"]["type"] == "unavailable"
    assert manifest["input_digest"] is None
    assert capsys.readouterr().err.startswith(f"smoke failed: unavailable: {dead_target}: ")


@pytest.mark.parametrize(
    ("arguments", "type_", "words"),
    [
        (["--model", "absent"], "model_not_found", "'absent' is not served; served: tiny, other"),
        (["--horizon", "1000"], "limit_exceeded", "action_candidates: has 1000 steps of horizon; the limit is 64"),
        (["--samples", "-1"], "invalid_value", "samples: is -1; expected 1 to "),
    ],
)
def test_a_failed_run_records_its_error_as_evidence(server, smoke, arguments, type_, words):
    code, summary, manifest = smoke("--target", server.target, *arguments)
    assert (code, manifest["status"], summary["error"]["type"]) == (1, "failed", type_)
    assert words in summary["error"]["message"]
    assert manifest["input_summary"]["error"] == summary["error"]


def test_the_flags_of_worldforges_own_smoke(server, smoke):
    flags = ["--history", "3", "--image-size", "32", "--action-dim", "10", "--objective", "l1", "--samples", "2"]
    code, summary, _ = smoke("--target", server.target, *flags)
    assert code == 0
    shapes = summary["inputs"]["shapes"]
    assert (shapes["observation"], shapes["action_history"]) == ([1, 3, 3, 32, 32], [1, 2, 10])
    assert summary["result"]["metadata"]["objective"] == "l1"


def test_addresses_users_passwords_and_paths_stay_out_of_the_evidence(smoke, tmp_path):
    model = f"tiny,checkpoint={tmp_path}/me:pw@weights"
    code, summary, manifest = smoke("--target", "me:pw@127.0.0.1:1", "--model", model, "--timeout", "0.2")
    assert code == 1
    for text in (json.dumps(manifest), json.dumps(summary["error"])):
        for private in ("pw", "127.0.0.1", str(tmp_path)):
            assert private not in text
    assert "tiny,checkpoint=[redacted]" in manifest["command_argv"]


def test_a_server_that_does_not_start(smoke, capfd):
    code, summary, _ = smoke("--start", "--model", "mine=nothing")
    assert (code, summary["error"]["type"]) == (1, "server_did_not_start")
    assert "the server ended with exit code 1" in summary["error"]["message"]
    assert "unknown source 'nothing'" in capfd.readouterr().err


def test_where_no_server_is_installed_it_says_what_to_do(smoke, monkeypatch):
    monkeypatch.setattr(local_server, "find_spec", lambda name: None if name == "torch" else name)
    code, summary, _ = smoke("--start")
    assert (code, summary["error"]["type"]) == (1, "server_not_installed")
    assert "torch missing: name the target of a running one" in summary["error"]["message"]
    assert "pip install '.[server]' in a checkout of worldforge-jepa" in summary["error"]["message"]


def test_evidence_that_cannot_be_written_is_an_error(server, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code = main(["smoke", "--target", server.target, "--json-output", str(tmp_path / "file" / "summary.json")])
    assert code == 1
    assert capsys.readouterr().err.startswith("worldforge-jepa smoke: ")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051"),
        ("unix:/run/jepa.sock", "unix:/run/jepa.sock"),
        ("sha256:0a1b", "sha256:0a1b"),
        ("https://me:pw@host/file?X-Signature=1#part", "https://host/file"),
        ("api_key=abc", "[redacted]"),
        ("Bearer abc", "[redacted]"),
        ("http://[", "[redacted]"),
        ("", "[redacted]"),
        ("\x08\xa0\x08", "[redacted]"),
        ("\x08host\x08/file", "host/file"),
    ],
)
def test_text_in_a_manifest_is_sanitized(text, kept):
    assert sanitized({"item": [text]}) == {"item": [kept]}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("unavailable: 127.0.0.1:1: refused", "unavailable: [redacted]: refused"),
        ("no file /home/me/a.pth or ~/b: give one", "no file [redacted] or [redacted]: give one"),
        ("at unix:/run/j.sock, [::1]:50051, host.example:443", "at [redacted] [redacted], [redacted]"),
        ("me:pw@host said no", "[redacted] said no"),
        ("has shape (1, 2); expected (1, any, 10)", "has shape (1, 2); expected (1, any, 10)"),
        ("model tiny on cuda:0, 1.5 ms", "model tiny on cuda:0, 1.5 ms"),
        ("native:jepa_wm_pusht of facebookresearch/jepa-wms", "native:jepa_wm_pusht of facebookresearch/jepa-wms"),
    ],
)
def test_text_for_reports_is_redacted(text, kept):
    assert redacted(text) == kept


@given(st.text())
def test_sanitized_text_has_no_part_that_could_be_private(text):
    kept = sanitized(text)
    parts = urlsplit(kept)
    assert kept
    assert not parts.query
    assert not parts.fragment
    assert "@" not in parts.netloc
    assert sanitized(kept) == kept
