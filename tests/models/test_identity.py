"""The published identity of code and weights tells a stand-in from the real model."""

from dataclasses import replace

import pytest
import torch

from tests.external import hub
from tests.support import python_models
from worldforge_jepa_client import wire
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models.external.adapt import adapt
from worldforge_jepa_server.models.identity import weights_digest
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.models.registry import load_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def adapted(model):
    return adapt(model, name="m", source="test", device="cpu").spec.identity


def test_the_embedded_model():
    identity = tiny.load("cpu", "m").spec.identity
    assert (identity.repository, identity.pretrained, identity.model_class) == ("worldforge-jepa", True, "Jepa")
    assert identity.model_module == "worldforge_jepa_server.models.native.jepa"
    assert identity.torch == torch.__version__


def test_a_hub_model_is_told_by_its_own_class_repository_and_option():
    spec = hub.load("jepa_wm_pusht", pretrained="true").spec
    identity = spec.identity
    assert (identity.repository, identity.pretrained) == ("upstream_standin", True)
    assert (identity.model_class, identity.model_module) == ("EncPredWM", "hubconf.py")  # as torch hub imports it
    assert identity.weights_digest.startswith("sha256:")
    assert spec.parameter_count < 2000


def test_of_github_the_revision_is_the_one_asked_for(monkeypatch):
    model = torch.nn.Linear(2, 2)
    model.encode = model.unroll = lambda *_: None
    monkeypatch.setattr(torch.hub, "load", lambda *_, **__: model)
    source = ModelSource("m", "hub:other", {"repo": f"facebookresearch/jepa-wms:{COMMIT}", "pretrained": "false"})
    identity = load_model(source, "cpu").spec.identity
    assert (identity.repository, identity.revision) == ("facebookresearch/jepa-wms", COMMIT)
    assert (identity.pretrained, identity.model_class) == (False, "Linear")


def test_a_python_model_is_told_by_its_package_and_class():
    spec = load_model(ModelSource("m", "python:tests.support.python_models:GetCost", {}), "cpu").spec
    assert (spec.identity.repository, spec.identity.model_class) == ("tests", "GetCost")
    assert spec.identity.model_module == "tests.support.python_models"


def test_the_digest_is_that_of_the_weights():
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert weights_digest(one) != weights_digest(other)
    other.load_state_dict(one.state_dict())
    assert weights_digest(one) == weights_digest(other)
    with torch.no_grad():
        other.bias[1] += 1e-6
    assert weights_digest(one) != weights_digest(other)
    assert weights_digest(python_models.Plain()) == ""
    assert weights_digest(torch.nn.Linear(2, 2, device="meta")) == ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_weights_of_any_dtype_have_a_digest(dtype):
    module = torch.nn.Module()
    module.register_buffer("count", torch.zeros((), dtype=dtype))
    assert weights_digest(module).startswith("sha256:")


def test_the_precision_does_not_change_the_digest():
    plain, narrow = (load_model(ModelSource.parse(f"m=tiny{option}"), "cpu") for option in ("", ",precision=bfloat16"))
    assert plain.spec.identity == narrow.spec.identity


@pytest.mark.parametrize("pretrained", [None, False, True])
def test_identity_survives_the_wire(pretrained):
    spec = tiny.load("cpu", "m").spec
    spec = replace(spec, identity=replace(spec.identity, pretrained=pretrained))
    assert wire.model_spec(wire.model_message(spec)).identity == spec.identity


def test_what_is_not_known_is_left_out():
    spec = adapt(python_models.ScoreActions(), name="m", source="test", device="cpu").spec
    assert spec.provenance.keys() == {"source", "model_class", "model_module", "torch"}
    assert wire.model_spec(wire.model_message(spec)).identity.pretrained is None
