"""The official checkpoints on this project's own implementation, without upstream's code: `native:NAME`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldforge_jepa_client.contract.spec import Limits
from worldforge_jepa_server.models.catalog import CATALOG, CatalogEntry
from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.weights.architectures import model_config
from worldforge_jepa_server.models.native.weights.checkpoint import (
    CheckpointError,
    file_sha256,
    load_weights,
    read_torch,
)
from worldforge_jepa_server.models.native.weights.locate import find_checkpoint, find_encoder
from worldforge_jepa_server.models.options import flag
from worldforge_jepa_server.models.precision import FLOAT32, Execution

LIMITS = Limits(max_samples=65536, max_horizon=64, max_context_frames=16)

_PARTS = ("predictor", "action_encoder", "proprio_encoder", "state_encoder")
_UNUSED_PARTS = ("opt", "scaler", "epoch", "heads", "image_head", "state_head")
_RENAMED = {"action_encoder.": "predictor.action_encoder.", "state_encoder.": "proprio_encoder."}
# Not weights: the causal mask, which is rebuilt, and a token of DINOv2's training.
_UNUSED = re.compile(r"predictor\.transformer\.layers\.\d+\.0\.bias|encoder\.mask_token")


def official_weights(checkpoint: Mapping[str, Any], encoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of `Jepa`, from the parts of an official checkpoint and DINOv2's own file.

    Raises:
        CheckpointError: the checkpoint has a part that is neither weights nor known to be of no use, or a weight twice.
    """
    unknown = sorted(map(str, checkpoint.keys() - {*_PARTS, *_UNUSED_PARTS}))
    if unknown:
        raise CheckpointError(f"the checkpoint has unexpected parts: {', '.join(unknown)}")
    parts = {name: checkpoint[name] for name in _PARTS if checkpoint.get(name) is not None}
    named: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for part, state in {**parts, "encoder": encoder}.items():
        for key, tensor in _tensors(part, state):
            name, origin = _renamed(f"{part}.{key.removeprefix('module.')}"), f"{part}.{key}"
            if name in named:
                raise CheckpointError(f"{origins[name]} and {origin} are the same weight, {name}")
            named[name], origins[name] = tensor, origin
    return {key: tensor for key, tensor in named.items() if not _UNUSED.fullmatch(key)}


def _tensors(part: str, state: Any) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{part} is a {type(state).__name__}; expected weights by name")
    for key, tensor in state.items():
        if not (isinstance(key, str) and isinstance(tensor, Tensor)):
            raise CheckpointError(f"{part} has a {type(tensor).__name__} as {key!r}; expected weights by name")
        yield key, tensor


def _renamed(key: str) -> str:
    for old, new in _RENAMED.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def build(entry: CatalogEntry, weights: Mapping[str, Tensor]) -> Jepa:
    """The model with its own float32 copy of `weights`.

    Raises:
        CheckpointError: missing, unexpected or wrongly shaped weights; all are named.
    """
    with torch.device("meta"):
        module = Jepa(model_config(entry))
    copies = {key: tensor.to(torch.float32, copy=True) for key, tensor in weights.items()}
    load_weights(module, copies, assign=True)
    return module


def _build_from_files(entry: CatalogEntry, checkpoint: Path, encoder: Path) -> Jepa:
    parts, encoder_weights = read_torch(checkpoint), read_torch(encoder)
    try:
        return build(entry, official_weights(parts, encoder_weights))
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
) -> NativeModel:
    """The published model `target` on `device`, served as `name`; the rest are the options of the source.

    Raises:
        ModelLoadError: a model that is not covered, a file that is not there, or weights that do not fit.
    """
    entry = native_entry(target)
    path = find_checkpoint(target, checkpoint, flag("download", download))
    if path.suffix == ".safetensors":
        module = build(entry, read_converted(path, target))
    else:
        module = _build_from_files(entry, path, find_encoder(encoder, path, flag("download", download)))
    return NativeModel(
        module,
        name=name,
        source=f"native:{target}",
        digest=file_sha256(path),
        device=device,
        limits=LIMITS,
        execution=execution,
        **entry.published,
    )


def native_entry(model: str) -> CatalogEntry:
    """The catalog's entry of a model that this implementation covers.

    Raises:
        ModelLoadError: it does not cover it.
    """
    if model not in CATALOG:
        raise ModelLoadError(f"native:{model} is unknown; known: {', '.join(CATALOG)}")
    return CATALOG[model]


def convert(model: str, checkpoint: Path, encoder: Path, output: Path) -> str:
    """Write one safetensors file of everything `model` needs, with its provenance; return its sha256, hex.

    Raises:
        ModelLoadError: a model that is not covered, weights that do not fit, or an output that cannot be written.
    """
    if not output.parent.is_dir():
        raise ModelLoadError(f"no folder {output.parent} to write {output.name} to")
    module = _build_from_files(native_entry(model), checkpoint, encoder)
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


def read_converted(path: Path, model: str) -> dict[str, Tensor]:
    """The weights in a file that `convert` wrote.

    Raises:
        CheckpointError: not such a file, or one of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            made_for = (file.metadata() or {}).get("model")
            if made_for != model:
                raise CheckpointError(f"{path} was converted for {made_for or 'no known model'}, not for {model}")
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
