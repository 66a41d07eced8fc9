"""The official checkpoints on this project's own implementation, without upstream's code: `native:NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldforge_jepa_client.contract.spec import Identity, Limits, Normalization
from worldforge_jepa_client.version import __version__
from worldforge_jepa_server.models.catalog import CATALOG, CatalogEntry
from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.weights.architectures import model_config
from worldforge_jepa_server.models.native.weights.checkpoint import (
    CheckpointError,
    checked_sha256,
    file_sha256,
    load_weights,
    read_torch,
)
from worldforge_jepa_server.models.native.weights.key_names import official_weights
from worldforge_jepa_server.models.native.weights.locate import find_checkpoint, find_encoder
from worldforge_jepa_server.models.native.weights.statistics import read_statistics
from worldforge_jepa_server.models.options import flag
from worldforge_jepa_server.models.precision import FLOAT32, Execution

OPTIONS = (
    "checkpoint",
    "encoder",
    "download",
    "force",
    "statistics",
    "digest",
    "encoder_digest",
    "revision",
    "random",
)
"""The options of a model `native:NAME`; see `load`."""
LIMITS = Limits(max_samples=65536, max_horizon=64, max_context_frames=16)


def build(entry: CatalogEntry, weights: Mapping[str, Tensor], normalization: Normalization | None = None) -> Jepa:
    """Build the model with its own float32 copy of `weights`, and other statistics than the published if given.

    Raises:
        CheckpointError: missing, unexpected or wrongly shaped weights, or some that are no finite floats.
    """
    config = model_config(entry)
    with torch.device("meta"):
        module = Jepa(replace(config, normalization=normalization or config.normalization))
    copies = {
        key: tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor
        for key, tensor in weights.items()
    }
    load_weights(module, copies, assign=True)
    return module


def random_module(entry: CatalogEntry, normalization: Normalization | None = None) -> Jepa:
    """Build the model at full size with random weights, the same each time."""
    config = model_config(entry)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return Jepa(replace(config, normalization=normalization or config.normalization))


@dataclass(frozen=True)
class _Weights:
    """A model with the digest of its checkpoint, and whether its weights are the published ones, if that is known."""

    module: Jepa
    digest: str
    pretrained: bool | None


def _random_weights(entry: CatalogEntry, normalization: Normalization | None) -> _Weights:
    return _Weights(random_module(entry, normalization), "", pretrained=False)


@dataclass(frozen=True)
class _Files:
    """Where the weights of a model are, as the options of `load` say, and what they have to be."""

    checkpoint: str
    encoder: str
    download: bool
    force: bool
    digest: str
    encoder_digest: str
    revision: str

    def read(self, entry: CatalogEntry, normalization: Normalization | None) -> _Weights:
        """Check the files against the options and build the model."""
        path = find_checkpoint(entry.name, self.checkpoint, self.download, self.revision)
        sha256 = checked_sha256(path, self.digest, "digest")
        if not self.force:
            check_name(path, entry)
        if path.suffix == ".safetensors":
            return _Weights(build(entry, read_converted(path, entry.name, self.force), normalization), sha256, None)
        encoder = find_encoder(entry.encoder, self.encoder, path, self.download, self.encoder_digest)
        checked_sha256(encoder, self.encoder_digest, "encoder_digest")
        return _Weights(_build_from_files(entry, path, encoder, normalization), sha256, None)


def _normalization(entry: CatalogEntry, statistics: str) -> Normalization | None:
    return read_statistics(Path(statistics).expanduser(), entry.normalization) if statistics else None


def _build_from_files(
    entry: CatalogEntry, checkpoint: Path, encoder: Path, normalization: Normalization | None = None
) -> Jepa:
    parts, encoder_weights = read_torch(checkpoint), read_torch(encoder)
    try:
        return build(entry, official_weights(parts, encoder_weights), normalization)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {checkpoint}, encoder {encoder}: {error}") from error


def load(
    target: str,
    *,
    device: str,
    name: str,
    execution: Execution = FLOAT32,
    checkpoint: str = "",
    encoder: str = "",
    download: str = "false",
    force: str = "false",
    statistics: str = "",
    digest: str = "",
    encoder_digest: str = "",
    revision: str = "",
    random: str = "false",
) -> NativeModel:
    """Load the published model `target`.

    Args:
        target: a name of the catalog.
        device: a torch device.
        name: what the server calls it.
        execution: how it is to compute.
        checkpoint: a file or folder, see `find_checkpoint`.
        encoder: a file, see `find_encoder`.
        download: true fetches what is not here.
        force: true accepts a checkpoint that is named after another model.
        statistics: JSON with the normalization of a fine-tuned model, see `read_statistics`.
        digest: "sha256:..." that the checkpoint must have.
        encoder_digest: likewise for the encoder's file; a download needs it.
        revision: the commit that a checkpoint is downloaded from.
        random: true takes random weights, the same each time, and no file.

    Raises:
        ModelLoadError: a model that is not covered, a file that is not there, or weights that do not fit.
    """
    entry = native_entry(target)
    files = (checkpoint, encoder, flag("download", download), flag("force", force), digest, encoder_digest, revision)
    read = _random_weights if flag("random", random) else _Files(*files).read
    return _served(entry, read(entry, _normalization(entry, statistics)), device, name, execution)


def _served(entry: CatalogEntry, weights: _Weights, device: str, name: str, execution: Execution) -> NativeModel:
    return NativeModel(
        weights.module,
        name=name,
        source=f"native:{entry.name}",
        digest=weights.digest,
        device=device,
        limits=LIMITS,
        execution=execution,
        identity=Identity("worldforge-jepa", __version__, weights.pretrained),
        **entry.published,
    )


def check_name(path: Path, entry: CatalogEntry) -> None:
    """Refuse a file that is named after another model: models of one family can have the same shapes.

    Raises:
        CheckpointError: the name has another model's name in it, and not this one's.
    """
    named = {other.name for other in CATALOG.values() if any(alias in path.name for alias in other.file_names)}
    if named and entry.name not in named:
        raise CheckpointError(
            f"{path} is named after {' and '.join(sorted(named))}, but native:{entry.name} was asked for; serve "
            f"native:{min(named)}, or add force=true if the file is {entry.name}'s all the same"
        )


def native_entry(model: str) -> CatalogEntry:
    """Look up a model in the catalog, all of which this implementation covers.

    Raises:
        ModelLoadError: no such model.
    """
    if model not in CATALOG:
        raise ModelLoadError(f"native:{model} is unknown; known: {', '.join(CATALOG)}")
    return CATALOG[model]


def convert(model: str, checkpoint: Path, encoder: Path, output: Path, force: bool = False) -> str:
    """Write one safetensors file of everything `model` needs, with its provenance; return its sha256, hex.

    Raises:
        ModelLoadError: a model that is not covered, weights that do not fit, or an output that cannot be written.
    """
    if not output.parent.is_dir():
        raise ModelLoadError(f"no folder {output.parent} to write {output.name} to")
    entry = native_entry(model)
    if not force:
        check_name(checkpoint, entry)
    module = _build_from_files(entry, checkpoint, encoder)
    provenance = {
        "model": model,
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": file_sha256(checkpoint),
        "encoder": encoder.name,
        "encoder_sha256": file_sha256(encoder),
    }
    try:
        save_file(dict(module.state_dict()), output, metadata=provenance)
    except SafetensorError as error:
        raise ModelLoadError(f"{output}: cannot be written ({error})") from error
    return file_sha256(output)


def read_converted(path: Path, model: str, force: bool = False) -> dict[str, Tensor]:
    """Read the weights from a file that `convert` wrote.

    Raises:
        CheckpointError: not such a file, or, unless `force`, one of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            made_for = (file.metadata() or {}).get("model")
            if made_for != model and not force:
                raise CheckpointError(f"{path} was converted for {made_for or 'no known model'}, not for {model}")
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
