"""`worldforge-jepa smoke` where WorldForge is installed: through its provider, and validated by it."""

import json

import pytest

from worldforge_jepa_client.tools.cli import main


def smoke(tmp_path, *arguments):
    summary, manifest = tmp_path / "summary.json", tmp_path / "run_manifest.json"
    code = main(["smoke", *arguments, "--json-output", str(summary), "--run-manifest", str(manifest)])
    return code, json.loads(summary.read_text()), json.loads(manifest.read_text())


def test_smoke_scores_through_the_provider(tmp_path, target):
    code, summary, manifest = smoke(tmp_path, "--target", target)
    assert (code, manifest["status"]) == (0, "passed")
    assert summary["path"] == "WorldForge's provider"
    assert summary["health"]["healthy"]
    assert summary["profile"]["name"] == summary["result"]["provider"] == manifest["provider_profile"]
    assert manifest["input_summary"]["runtime_version"]["worldforge"]
    assert [event["phase"] for event in summary["provider_events"]] == ["success"]
    assert manifest["event_count"] == 1


@pytest.mark.parametrize("arguments", [(), ("--model", "absent"), ("--target", "127.0.0.1:1", "--timeout", "0.2")])
def test_worldforge_accepts_the_manifest(tmp_path, target, arguments):
    reason = "this WorldForge has no run manifests; its main branch has"
    evidence = pytest.importorskip("worldforge.smoke.run_manifest", reason=reason)
    code, _, manifest = smoke(tmp_path, "--target", target, *arguments)
    assert manifest["status"] == ("failed" if arguments else "passed")
    assert code == bool(arguments)
    assert evidence.validate_run_manifest(manifest) == manifest
