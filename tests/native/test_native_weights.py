"""Weights of `native:NAME` are checked: keys, shapes, values, the file's own name, and statistics."""

import itertools
import json
import os

import pytest
import torch

from tests.native.upstream_weights import official_files, synthetic_weights
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.native.weights import checkpoint as reader
from worldforge_jepa_server.models.native.weights.checkpoint import file_sha256
from worldforge_jepa_server.models.native.weights.published import convert
from worldforge_jepa_server.models.registry import load_model

SAFE_TORCH = reader._SAFE_TORCH  # conftest lowers it before the tests begin
JEPA, DINO = "jepa_wm_pusht", "dino_wm_pusht"


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


def test_every_key_is_accounted_for(tmp_path, weights):
    changed = {key: tensor for key, tensor in weights.items() if key != "predictor.predictor_norm.bias"}
    changed["predictor.surprise"] = torch.zeros(1)
    checkpoint, encoder = official_files(JEPA, tmp_path, changed)
    with pytest.raises(
        ModelLoadError, match=r"1 missing: predictor\.predictor_norm\.bias; 1 unexpected: predictor\.surprise"
    ):
        native(checkpoint=checkpoint, encoder=encoder)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"state_encoder": {"patch_embed.bias": torch.zeros(1)}},
            r"proprio_encoder\.module\.patch_embed\.bias and state_encoder\.patch_embed\.bias are the same weight",
        ),
        (
            {"action_encoder": {"module.x": torch.zeros(1), "x": torch.zeros(1)}},
            r"action_encoder\.module\.x and action_encoder\.x are the same weight",
        ),
        ({"action_encoder": torch.zeros(1)}, "action_encoder is a Tensor; expected weights by name"),
        ({"action_encoder": {"x": "text"}}, "action_encoder has a str as 'x'; expected weights by name"),
    ],
)
def test_duplicate_keys_and_values_that_are_no_tensors_are_refused(tmp_path, weights, parts, message):
    checkpoint, encoder = official_files(JEPA, tmp_path, weights)
    torch.save(torch.load(checkpoint, weights_only=True) | parts, checkpoint)
    with pytest.raises(ModelLoadError, match=rf"checkpoint {checkpoint}, encoder {encoder}: .*{message}"):
        native(checkpoint=checkpoint, encoder=encoder)


def test_a_checkpoint_given_as_encoder_is_refused(files):
    with pytest.raises(ModelLoadError, match=r"encoder has a dict as 'predictor'; expected weights by name"):
        native(checkpoint=files[0], encoder=files[0])


def script(path):
    torch.jit.save(torch.jit.trace(torch.nn.Identity(), torch.zeros(1)), path)


@pytest.mark.filterwarnings("ignore:.*torch.jit")  # a warning of another kind by release
@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"garbage" * 100),
        lambda path: path.write_text("hello, this is text"),
        lambda path: path.write_bytes(b""),
        script,
    ],
    ids=["garbage", "text", "empty", "script"],
)
def test_unreadable_files_are_refused_without_advice_to_read_them_unsafely(tmp_path, files, write):
    write(tmp_path / "no.pth")
    with pytest.raises(ModelLoadError, match=r"no\.pth: not a file of weights that can be read safely") as caught:
        convert(JEPA, files[0], tmp_path / "no.pth", tmp_path / "x.safetensors")
    assert "weights_only" not in str(caught.value)


def test_weights_of_another_shape_are_refused(files):
    with pytest.raises(
        ModelLoadError,
        match=r"1 of another shape: predictor\.action_encoder\.weight \(400, 10\) instead of \(400, 20\)",
    ):
        native("jepa_wm_metaworld", checkpoint=files[0], encoder=files[1], force=True)


def test_nothing_in_a_checkpoint_is_executed(tmp_path, files):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"predictor": Payload()}, tmp_path / "evil.pth.tar")
    with pytest.raises(ModelLoadError, match=r"evil\.pth\.tar: not a file .* safely \(it holds a posix\.mkdir, "):
        native(checkpoint=tmp_path / "evil.pth.tar", encoder=files[1])
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module.module.", "module._orig_mod."])
def test_wrappers_of_training_are_stripped_from_keys(tmp_path, weights, prefix):
    checkpoint, encoder = official_files(JEPA, tmp_path, weights, loss=0.1, lr=1e-3, teacher={}, state={"step": 1})
    content = torch.load(checkpoint, weights_only=True)
    keys = ((key.removeprefix("module."), tensor) for key, tensor in content["predictor"].items())
    content["predictor"] = {prefix + key.replace("blocks.0.", "blocks.0._orig_mod."): tensor for key, tensor in keys}
    torch.save(content, checkpoint)
    loaded = native(checkpoint=checkpoint, encoder=encoder).module.state_dict()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


@pytest.mark.parametrize("alias", ["jepa_wm_pointmaze.pth.tar", "mz_jepa-wm.pth.tar", "my_jepa_wm_pointmaze_v2.pth"])
def test_a_file_named_after_another_model_is_refused_unless_forced(tmp_path, files, alias):
    (tmp_path / alias).symlink_to(files[0])
    with pytest.raises(ModelLoadError, match=r"named after jepa_wm_pointmaze, but native:jepa_wm_pusht .* force=true"):
        native(checkpoint=tmp_path / alias, encoder=files[1])
    assert native(checkpoint=tmp_path / alias, encoder=files[1], force=True).spec.environment == "pusht"


def test_no_name_of_a_checkpoint_is_part_of_another_models():
    names = {name: entry.file_names for name, entry in CATALOG.items()}
    for one, other in itertools.permutations(names, 2):
        assert not any(a in b for a in names[one] for b in names[other]), (one, other)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(384, dtype=torch.int64), r"must be floating point: 1 not: encoder\.norm\.bias \(torch\.int64\)"),
        (torch.full((384,), torch.nan), r"must be finite: 1 NaN or infinite: encoder\.norm\.bias"),
        (torch.full((384,), -torch.inf), r"must be finite: 1 NaN or infinite: encoder\.norm\.bias"),
    ],
    ids=["integers", "NaN", "infinite"],
)
def test_weights_that_are_no_finite_floats_are_refused(tmp_path, weights, value, message):
    checkpoint, encoder = official_files(JEPA, tmp_path, weights | {"encoder.norm.bias": value})
    with pytest.raises(ModelLoadError, match=message):
        native(checkpoint=checkpoint, encoder=encoder)


def test_many_wrong_keys_are_counted_and_the_first_named(tmp_path, files):
    torch.save({"predictor": {}}, tmp_path / "empty.pth")
    with pytest.raises(ModelLoadError, match=r"94 missing: predictor\.\S+, \S+, \S+ and 91 more$") as caught:
        native(checkpoint=tmp_path / "empty.pth", encoder=files[1])
    assert len(str(caught.value)) < 600


@pytest.fixture
def statistics(tmp_path):
    path = tmp_path / "statistics.json"
    path.write_text(json.dumps({**vars(CATALOG["jepa_wm_pointmaze"].normalization), "state_mean": [0.0]}))
    return path


def test_a_fine_tuned_model_brings_its_statistics(files, statistics):
    spec = native(checkpoint=files[0], encoder=files[1], statistics=statistics).spec
    assert spec.normalization == CATALOG["jepa_wm_pointmaze"].normalization


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_mean": [0.0]}, r"action_mean is \[0\.0\], expected 2 finite numbers"),
        ({"action_std": [1.0, 0.0]}, r"action_std is \[1\.0, 0\.0\], expected 2 finite numbers above 0"),
        ({"proprio_std": [1.0, 1.0, 1.0, float("nan")]}, "proprio_std is .* expected 4 finite numbers above 0"),
        ({"proprio_mean": "none"}, "proprio_mean is 'none', expected 4 finite numbers"),
    ],
)
def test_statistics_that_cannot_be_are_refused(files, statistics, change, message):
    statistics.write_text(json.dumps(json.loads(statistics.read_text()) | change))
    with pytest.raises(ModelLoadError, match=message):
        native(checkpoint=files[0], encoder=files[1], statistics=statistics)


@pytest.mark.parametrize("text", [None, "no json", "[1]"])
def test_a_file_that_holds_no_statistics_is_refused(tmp_path, files, text):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(ModelLoadError, match=r"statistics=.*x\.json: (cannot be read|holds a list)"):
        native(checkpoint=files[0], encoder=files[1], statistics=tmp_path / "x.json")


def test_a_pinned_digest_is_checked_before_the_file_is_read(files, tmp_path):
    digest, encoder_digest = (f"sha256:{file_sha256(path)}" for path in files)
    pinned = {"checkpoint": files[0], "encoder": files[1], "digest": digest, "encoder_digest": encoder_digest}
    assert native(**pinned).spec.checkpoint_digest == digest
    other = f"sha256:{'0' * 64}"
    for option in ("digest", "encoder_digest"):
        with pytest.raises(ModelLoadError, match=f"{option} is {other}, and the file's is sha256:"):
            native(**pinned | {option: other})
        with pytest.raises(ModelLoadError, match=f"{option}=0: expected sha256: and 64 hexadecimal digits"):
            native(**pinned | {option: "0"})
    garbage = tmp_path / files[0].name
    garbage.write_bytes(b"garbage")
    with pytest.raises(ModelLoadError, match="digest is"):
        native(**pinned | {"checkpoint": garbage})


def test_torch_files_are_refused_by_a_torch_that_cannot_read_them_safely(files, monkeypatch):
    monkeypatch.setattr(reader, "_SAFE_TORCH", SAFE_TORCH)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(
        ModelLoadError, match=r"torch 2\.9\.1\+cpu cannot read it safely .* install torch 2\.10 or later"
    ):
        native(checkpoint=files[0], encoder=files[1])


def test_an_encoder_is_downloaded_only_with_its_digest(files, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    alone = tmp_path / files[0].name
    alone.symlink_to(files[0])
    with pytest.raises(ModelLoadError, match=r"download=true needs encoder_digest=sha256:\.\.\. of https://dl"):
        native(checkpoint=alone, download=True)
