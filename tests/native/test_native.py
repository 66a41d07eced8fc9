"""`native:NAME`: official checkpoint files load by every key, and refuse what they do not understand."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch.torch_version import TorchVersion

from tests.native.upstream_weights import official_files, synthetic_weights
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models.catalog import CATALOG, DINOV3_L, VJEPA2_G
from worldforge_jepa_server.models.contract import ModelLoadError, Observation
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.weights import checkpoint as reader
from worldforge_jepa_server.models.native.weights.architectures import model_config
from worldforge_jepa_server.models.native.weights.locate import find_encoder
from worldforge_jepa_server.models.native.weights.published import convert
from worldforge_jepa_server.models.registry import load_model

DATA = Path(__file__).parents[1] / "data"
STATISTICS = json.loads((DATA / "normalization_stats.json").read_text())
JEPA, DINO = "jepa_wm_pusht", "dino_wm_pusht"
PATIENCE = 240  # seconds a process may take on a busy machine; no test here is about speed
ELSEWHERE = pytest.mark.skipif(
    TorchVersion(torch.__version__) < reader._SAFE_TORCH,
    reason="a process of its own refuses checkpoints of this torch",
)


@pytest.fixture(scope="module")
def weights():
    return synthetic_weights(JEPA)


@pytest.fixture(scope="module")
def files(tmp_path_factory, weights):
    return official_files(JEPA, tmp_path_factory.mktemp("official"), weights)


def native(name=JEPA, **options):
    return load_model(
        ModelSource("pusht", f"native:{name}", {key: str(value) for key, value in options.items()}), "cpu"
    )


@pytest.fixture(scope="module")
def model(files):
    return native(checkpoint=files[0], encoder=files[1])


def last_latents(model):
    scene = Observation(torch.full((1, 1, 3, 30, 40), 99, dtype=torch.uint8), torch.ones(1, 1, 4))
    *_, last = model.unroll(model.encode(scene), torch.ones(2, 1, 10), None)
    return last


@pytest.mark.parametrize("name", CATALOG)
def test_statistics_are_upstreams_to_the_bit(name):
    entry = CATALOG[name]
    expected = STATISTICS[entry.environment.name]
    for key in ("action_mean", "action_std", "proprio_mean", "proprio_std"):
        ours = getattr(entry.normalization, key)
        if ours or key.startswith("action"):
            np.testing.assert_array_equal(np.float32(ours), np.float32(expected[key]))


@pytest.mark.parametrize(
    ("environment", "action_dim", "proprio_dim", "executed"),
    [("pusht", 10, 4, 6), ("pointmaze", 10, 4, 6), ("wall", 10, 2, 6), ("metaworld", 20, 4, 3)],
)
@pytest.mark.parametrize("family", ["jepa_wm", "dino_wm"])
def test_simulated_models(family, environment, action_dim, proprio_dim, executed):
    entry = CATALOG[f"{family}_{environment}"]
    assert (entry.action_dim, entry.proprio_dim, entry.proprio_weight) == (action_dim, proprio_dim, 0.1)
    planner = entry.environment.planner
    iterations = 15 if environment == "metaworld" else 30
    assert (planner.samples, planner.elites, planner.iterations, planner.horizon) == (300, 10, iterations, 6)
    assert (planner.executed_steps, planner.initial_std, planner.low) == (executed, 1.0, ())
    with torch.device("meta"):
        predictor = Jepa(model_config(entry)).predictor
    width = {"jepa_wm": 400, "dino_wm": 384 + entry.proprio_embed_dim + entry.action_embed_dim}[family]
    assert predictor.config.width == width


def test_droid_is_clipped_and_ignores_proprio():
    planner = CATALOG["jepa_wm_droid"].environment.planner
    assert planner.high == (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.75)
    assert planner.low == tuple(-bound for bound in planner.high)
    assert {entry.proprio_weight for entry in CATALOG.values() if entry.environment.name == "droid"} == {0.0}
    assert CATALOG["jepa_wm_droid"].proprio_dim == 0


def test_the_spec_publishes_the_catalog_entry(model, files):
    spec = model.spec
    assert (spec.family, spec.environment, spec.encoder) == ("jepa_wm", "pusht", "dinov2_vits14")
    assert (spec.action_dim, spec.raw_action_dim, spec.frameskip, spec.proprio_dim) == (10, 2, 5, 4)
    assert (spec.planner, spec.source) == (CATALOG[JEPA].environment.planner, "native:jepa_wm_pusht")
    assert spec.checkpoint_digest.startswith("sha256:")
    assert spec.memory.weights_bytes == 4 * spec.parameter_count
    assert spec.image_size == 224


def test_dino_wm_loads_with_its_separate_action_encoder_and_masks(tmp_path):
    weights = synthetic_weights(DINO)
    checkpoint, encoder = official_files(DINO, tmp_path, weights)
    content = torch.load(checkpoint, weights_only=True)
    content["predictor"] |= {f"module.transformer.layers.{i}.0.bias": torch.ones(1, 1, 2, 2) for i in range(6)}
    content["state_encoder"] = content.pop("proprio_encoder")
    torch.save(content, checkpoint)
    loaded = native(DINO, checkpoint=checkpoint, encoder=encoder).module.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_converting_into_a_missing_folder_is_refused(files):
    with pytest.raises(ModelLoadError, match=r"no folder /nowhere to write x\.safetensors to"):
        convert(JEPA, *files, Path("/nowhere/x.safetensors"))


def test_converting_onto_a_folder_is_refused(tmp_path, files):
    with pytest.raises(ModelLoadError, match=rf"{tmp_path}: cannot be written \(.*directory"):
        convert(JEPA, *files, tmp_path)


@ELSEWHERE
def test_a_converted_file_needs_no_encoder_and_gives_the_same_bits(tmp_path, files, model):
    output = tmp_path / "pusht.safetensors"
    command = [sys.executable, "-m", "worldforge_jepa_client", "convert", JEPA, "--checkpoint", files[0]]
    printed = subprocess.check_output(
        [*command, "--encoder", files[1], "--output", output], text=True, timeout=PATIENCE
    )
    converted = native(checkpoint=output)
    assert converted.spec.checkpoint_digest == printed.split()[0]
    assert torch.equal(last_latents(converted).visual, last_latents(model).visual)
    with safe_open(output, framework="pt") as file:
        provenance = file.metadata()
    assert provenance["model"] == JEPA
    assert f"sha256:{provenance['checkpoint_sha256']}" == model.spec.checkpoint_digest
    with pytest.raises(ModelLoadError, match="was converted for jepa_wm_pusht, not for jepa_wm_wall"):
        native("jepa_wm_wall", checkpoint=output)
    assert native("jepa_wm_pointmaze", checkpoint=output, force=True).spec.environment == "pointmaze"


def test_checkpoint_path_comes_from_the_environment_and_may_be_a_folder(monkeypatch, files):
    monkeypatch.setenv("JEPA_WMS_MODEL_PATH", str(files[0].parent))
    assert native().spec.environment == "pusht"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"download jepa_wm_pusht\.pth\.tar from https://huggingface\.co/facebook/jepa-wms and give its path"),
        ({"checkpoint": "/nowhere.pth.tar"}, r"no file /nowhere\.pth\.tar: give checkpoint=PATH"),
        ({"download": "true", "revision": "0" * 40}, "pip install huggingface_hub"),
        ({"download": "true"}, "download=true needs revision=COMMIT, the 40 digits .*; got ''"),
        ({"download": "true", "revision": "main"}, "got 'main'"),
        ({"download": "maybe"}, "download=maybe: expected true or false"),
        (
            {"color": "blue"},
            "native takes only the options checkpoint, encoder, download, force, statistics, digest, encoder_digest, revision, random, precision, compile, got color",
        ),
    ],
)
def test_missing_files_and_unknown_options_are_explained(monkeypatch, options, message):
    monkeypatch.delenv("JEPA_WMS_MODEL_PATH", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelLoadError, match=message):
        native(**options)


def test_a_missing_encoder_file_is_explained(monkeypatch, tmp_path, files):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    alone = tmp_path / files[0].name
    alone.symlink_to(files[0])
    with pytest.raises(ModelLoadError, match=r"dinov2_vits14_pretrain\.pth: download https://.* or give encoder=PATH"):
        native(checkpoint=alone)


def test_an_encoder_behind_a_form_is_asked_for_where_the_form_is(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        ModelLoadError, match=r"dinov3_vitl16_pretrain\S+\.pth.*: ask for the file at https://ai\.meta\.com/"
    ):
        find_encoder(DINOV3_L, "", tmp_path / "jepa_wm_droid.pth.tar", download=True)


@pytest.mark.parametrize(
    ("encoder", "place"),
    [
        (DINOV3_L, "dinov3/dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth"),
        (VJEPA2_G, "vjepa2_opensource/vjepa2_vit_giant.pth"),
    ],
)
def test_encoders_are_found_where_upstream_has_them(monkeypatch, tmp_path, encoder, place):
    monkeypatch.setenv("JEPAWM_OSSCKPT", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / place).parent.mkdir()
    (tmp_path / place).touch()
    assert find_encoder(encoder, "", tmp_path / "x.pth.tar", download=False) == tmp_path / place


def test_dino_wm_droid_loads_and_takes_no_proprio(tmp_path):
    name = "dino_wm_droid"
    checkpoint, encoder = official_files(name, tmp_path, synthetic_weights(name))
    spec = native(name, checkpoint=checkpoint, encoder=encoder).spec
    assert (spec.action_dim, spec.proprio, spec.planner) == (7, None, CATALOG[name].environment.planner)


@pytest.mark.parametrize("source", ["native", "native:", "tiny:x", "nativ:jepa_wm_pusht"])
def test_a_malformed_source_is_refused(source):
    with pytest.raises(ModelLoadError, match=r"is not|unknown source"):
        load_model(ModelSource("m", source), "cpu")


def test_unknown_models_are_refused():
    with pytest.raises(ModelLoadError, match="native:jepa_wm_robocasa is unknown; known: jepa_wm_metaworld"):
        native("jepa_wm_robocasa")


@ELSEWHERE
def test_loading_needs_less_than_600_mib_beside_torch(files):
    code = """
import os, sys, torch
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models.registry import load_model
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
source = ModelSource("m", "native:jepa_wm_pusht", {"checkpoint": sys.argv[1], "encoder": sys.argv[2]})
model = load_model(source, "cpu")
print((resident() - before) / 2**20)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    used = subprocess.check_output([sys.executable, "-c", code, *map(str, files)], text=True, timeout=PATIENCE)
    assert float(used) < 600
