"""The embedded model: its file is checked, what it publishes is true, and it has learned what it is for."""

import shutil

import pytest
import torch

from examples.two_room.training.evaluate import median_correlation
from worldforge_jepa_server.models.contract import Observation
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.models.native.weights.checkpoint import CheckpointError

H = 4


@pytest.fixture(scope="module")
def model():
    return tiny.load("cpu", "tiny")


def test_the_spec_names_dims_parameters_and_digest(model):
    spec = model.spec
    assert (spec.name, spec.source, spec.action_dim, spec.proprio_dim) == ("tiny", "embedded", 10, 2)
    assert spec.parameter_count == sum(p.numel() for p in model.module.parameters())
    assert spec.checkpoint_digest == "sha256:" + tiny.WEIGHTS.with_suffix(".sha256").read_text().split()[0]
    assert tiny.WEIGHTS.stat().st_size <= 2_000_000


def test_the_card_is_of_these_weights(model):
    card = tiny.WEIGHTS.with_suffix(".md").read_text()
    assert model.spec.checkpoint_digest.removeprefix("sha256:") in card


def test_a_tampered_file_is_refused(tmp_path):
    copy = tmp_path / "tiny.safetensors"
    data = bytearray(tiny.WEIGHTS.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    shutil.copy(tiny.WEIGHTS.with_suffix(".sha256"), tmp_path)
    with pytest.raises(CheckpointError, match=r"sha256 is .* expected .* the file was changed"):
        tiny.load("cpu", "tiny", copy)


def test_a_rollout_stops_where_its_caller_stops(model):
    steps = []
    handle = model.module.predictor.register_forward_hook(lambda *_: steps.append(1))
    frame = Observation(torch.zeros(1, 1, 3, 64, 64, dtype=torch.uint8), torch.full((1, 1, 2), 20.0))
    next(iter(model.unroll(model.encode(frame), torch.zeros(H, 3, 10), None)))
    handle.remove()
    assert len(steps) == 1


@pytest.mark.parametrize("proprio_weight", [0.0, 0.1])
def test_scores_rank_candidates_as_the_true_distance_does(model, proprio_weight):
    """The card's measurement with another seed, so that it is not the one the weights were chosen on."""
    assert median_correlation(model, horizon=H, proprio_weight=proprio_weight, seed=7) >= 0.9
