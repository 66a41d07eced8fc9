"""`worldforge-jepa parity`: the wire changes no score, and what does change one is told."""

import asyncio
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support import python_models
from tests.support.in_process import running
from worldforge_jepa_client.tools.cli import main
from worldforge_jepa_server.models import registry
from worldforge_jepa_server.models.external.adapt import adapt
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.tools.parity import Parity

LOCAL = np.array([0.3, 0.1, 0.2, 0.4], np.float32)


def parity(server, *arguments):
    return main(["parity", "--target", server.target, "--model", "tiny", *arguments])


@pytest.fixture
def model_here(monkeypatch):
    """The model that the command loads, to be tampered with."""
    model = tiny.load("cpu", "tiny")
    monkeypatch.setattr(registry, "load_model", lambda *_: model)
    return model


@pytest.mark.parametrize("objective", ["l2", "l1", "cosine"])
def test_a_server_scores_as_its_model_does(server, capsys, objective):
    code = main(["parity", "--target", server.target, "--model", "other=tiny", "--objective", objective])
    said = capsys.readouterr().out
    assert code == 0, said
    assert said.startswith("model             other, sha256:")
    assert "rank correlation  1.000000\nbest candidate    the same\nagree at tolerance 1e-05" in said


def test_json_has_the_measures(server, capsys):
    assert parity(server, "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert (measured["model"], measured["agree"], measured["same_best"]) == ("tiny", True, True)
    assert measured["rank_correlation"] == pytest.approx(1)


def test_a_model_that_drifted_disagrees(server, capsys, model_here):
    with torch.no_grad():
        model_here.module.predictor.predictor_proj.bias += 0.1
    assert parity(server) == 1
    assert "\ndisagree at tolerance 1e-05" in capsys.readouterr().out


def test_other_weights_are_told_by_their_digest_before_anything_is_scored(server, capsys, model_here):
    model_here._spec = replace(model_here.spec, checkpoint_digest="sha256:0a")
    assert parity(server) == 1
    said = capsys.readouterr()
    assert "has weights sha256:" in said.err
    assert "the model here sha256:0a" in said.err
    assert said.out == ""


@pytest.mark.parametrize(("lower_is_better", "said"), [(True, "differs"), (False, "the same")])
async def test_the_best_candidate_is_the_one_of_its_models_direction(monkeypatch, capsys, lower_is_better, said):
    """The lowest two scores are as good as equal, and the other way round on the server; the highest stands out."""

    def model(*lowest):
        scorer = python_models.ScoreActions(scores=[*lowest, 1.0], lower_is_better=lower_is_better)
        return adapt(scorer, name="m", source="test", device="cpu")

    monkeypatch.setattr(registry, "load_model", lambda *_: model(0.0, 1e-6))
    async with running(models={"m": model(1e-6, 0.0)}) as served:
        flags = ["--target", served.target, "--model", "m=tiny", "--samples", "3"]
        code = await asyncio.to_thread(main, ["parity", *flags])
    assert f"best candidate    {said}\n" in capsys.readouterr().out
    assert code == (1 if lower_is_better else 0)


@pytest.mark.parametrize(
    ("served", "difference", "correlation"),
    [
        (LOCAL, 0.0, 1.0),
        (LOCAL + 0.04, 0.04, 1.0),
        (-LOCAL, 0.8, -1.0),
        (LOCAL[[0, 2, 1, 3]], 0.1, 0.8),  # two neighbouring ranks swapped: 1 - 6 * 2 / (4 * 15)
    ],
)
def test_the_measures(served, difference, correlation):
    measured = Parity(served, LOCAL, same_best=True)
    assert measured.max_difference == pytest.approx(difference)
    assert measured.relative_difference == pytest.approx(difference / 0.4)
    assert measured.rank_correlation == pytest.approx(correlation)


def test_scores_of_zero_agree_with_themselves():
    assert Parity(np.zeros(2, np.float32), np.zeros(2, np.float32), same_best=True).relative_difference == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "a=nothing"], "parity: model a: unknown source 'nothing'"),
        (["--model", "absent=tiny"], "'absent' is not served; served: tiny, other"),
        (["--horizon", "0"], "horizon: is 0; expected 1 to "),
        (["--horizon", "1000"], "has 1000 steps of horizon; the limit is 64"),
    ],
)
def test_a_failed_parity_check_names_its_cause(server, capsys, arguments, words):
    assert parity(server, *arguments) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--samples", "1"], ["--model", "a=tiny,b"], ["--objective", "l7"]])
def test_malformed_flags_are_usage_errors(server, capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        parity(server, *arguments)
    assert arguments[0] in capsys.readouterr().err


def test_without_the_servers_packages_it_says_what_to_install(server, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "worldforge_jepa_server.models.registry", None)
    assert parity(server) == 1
    assert capsys.readouterr().err.endswith("; pip install '.[server]' in a checkout of worldforge-jepa\n")
