"""docs/evidence is what the smoke writes, and a script tells what it is evidence of."""

import json
from pathlib import Path

import pytest

import scripts.evidence
from scripts.check_evidence import UPSTREAM, all_doubts, main, parameter_count
from scripts.evidence import FOLDER, MODELS, WORLDFORGE
from tests.external import hub
from tests.provider.worldforge_standin import assert_valid_manifest

OF_THIS_RUN = {
    "run_id": "of a manifest",
    "created_at": "",
    "result_digest": "of the summary, times included",
    "total_ms": "",
    "latency_ms": "",
    "details": "of health, with its latency",
    "duration_ms": "of an event",
    "timing": "of a call",
    "torch": "versions",
    "worldforge": "",
    "worldforge_jepa": "",
    "package_version": "",
    "revision": "of this project",
}
"""Keys whose values differ from run to run, or from machine to machine."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The evidence as this code writes it now."""
    folder = tmp_path_factory.mktemp("evidence")
    assert scripts.evidence.main(folder) == 0
    return folder


@pytest.mark.skipif(not WORLDFORGE.exists(), reason="the evidence was made where WorldForge is installed")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("file", ["summary.json", "run_manifest.json"])
def test_the_evidence_is_what_smoke_writes(written, name, file):
    kept, new = (json.loads((folder / name / file).read_text()) for folder in (FOLDER, written))
    assert_same(new, kept, file)


def assert_same(new, kept, where):
    if isinstance(kept, dict):
        assert new.keys() == kept.keys(), where
        for key in kept.keys() - OF_THIS_RUN.keys():
            assert_same(new[key], kept[key], f"{where}.{key}")
    elif isinstance(kept, list):
        assert len(new) == len(kept), where
        for number, pair in enumerate(zip(new, kept, strict=True)):
            assert_same(*pair, f"{where}[{number}]")
    elif isinstance(kept, float):
        assert new == pytest.approx(kept, rel=1e-3), where
    else:
        assert (new, type(new)) == (kept, type(kept)), where


@pytest.mark.parametrize("name", MODELS)
def test_the_manifest_is_valid(name):
    assert_valid_manifest(json.loads((FOLDER / name / "run_manifest.json").read_text()))


def test_random_weights_are_marked_as_such(capsys):
    manifest = json.loads((FOLDER / "jepa_wm_pusht_random" / "run_manifest.json").read_text())
    versions = manifest["input_summary"]["runtime_version"]
    assert (versions["pretrained"], versions["parameter_count"]) == (False, parameter_count("jepa_wm_pusht"))
    assert main(str(FOLDER / "jepa_wm_pusht_random" / "run_manifest.json")) == 1
    assert "pretrained is false" in capsys.readouterr().out


def test_evidence_of_a_stand_in_is_told():
    stand_in = hub.load("jepa_wm_pusht").spec.provenance
    doubts = " ".join(all_doubts("passed", stand_in))
    assert "its code is of 'upstream_standin'" in doubts
    assert f"parameters; jepa_wm_pusht has {parameter_count('jepa_wm_pusht')}" in doubts


def test_evidence_of_the_real_model_is_told():
    real = {
        "source": "hub:jepa_wm_pusht",
        "repository": UPSTREAM,
        "revision": "0" * 40,
        "pretrained": True,
        "parameter_count": parameter_count("jepa_wm_pusht"),
        "weights_digest": "sha256:0a",
    }
    assert list(all_doubts("passed", real)) == []
    assert list(all_doubts("failed", real)) == ["the run failed"]


def test_the_contract_table_names_tests_that_are_there():
    page = (Path(__file__).parents[2] / "docs" / "worldforge.md").read_text()
    rows = [line.split("`")[-2] for line in page.partition("| sentence | test |")[2].splitlines() if "`tests/" in line]
    assert len(rows) > 15
    for row in rows:
        file, _, name = row.partition("::")
        assert f"def {name}" in (Path(__file__).parents[2] / file).read_text(), row
