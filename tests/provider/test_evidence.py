"""docs/evidence is what the smoke writes, and a script tells what it is evidence of."""

import json
from pathlib import Path

import numpy as np
import pytest

from scripts.check_evidence import UPSTREAM, all_doubts, main, parameter_count
from scripts.evidence import FOLDER, MODELS, SMOKE
from tests.external import hub
from tests.provider.worldforge_standin import assert_valid_manifest
from worldforge_jepa_client import wire
from worldforge_jepa_client.inputs.synthetic import digest, scene_of, synthetic_arrays
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.local import LocalClient
from worldforge_jepa_server.models.registry import load_model

OF_THIS_MACHINE = ("torch", "revision", "repository")


def evidence(name):
    """The summary and the manifest of one model."""
    return [json.loads((FOLDER / name / file).read_text()) for file in ("summary.json", "run_manifest.json")]


@pytest.mark.parametrize("name", MODELS)
def test_the_evidence_is_what_the_model_scores(name):
    summary, manifest = evidence(name)
    assert_valid_manifest(manifest)
    model = load_model(ModelSource.parse(MODELS[name]), "cpu")
    arrays = synthetic_arrays(wire.model_spec(wire.model_message(model.spec)), **SMOKE)  # statistics travel in float32
    assert summary["inputs"]["digest"] == manifest["input_digest"] == digest(arrays)
    versions = manifest["input_summary"]["runtime_version"]
    for key, value in model.spec.provenance.items():
        assert key in OF_THIS_MACHINE or versions[key] == value
    with LocalClient(model) as client:
        scored = client.score(**vars(scene_of(arrays)), action_candidates=arrays["action_candidates"])
    np.testing.assert_allclose(summary["result"]["scores"], scored.scores, rtol=1e-3)


def test_random_weights_are_marked_as_such(capsys):
    _, manifest = evidence("jepa_wm_pusht_random")
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
