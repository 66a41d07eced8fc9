"""Loading weights: every key accounted for, every file checked against its digest."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn

from worldforge_jepa_server.models.contract import ModelLoadError


class CheckpointError(ModelLoadError):
    """The weights are not the ones this model needs."""


def read_safetensors(path: Path, sha256: str | None = None) -> tuple[dict[str, Tensor], str]:
    """The tensors of a safetensors file and its sha256, hex.

    Raises:
        CheckpointError: the digest is not `sha256`.
        FileNotFoundError: no such file.
    """
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise CheckpointError(f"{path.name}: sha256 is {digest}, expected {sha256}; the file was changed")
    return load(data), digest


def read_torch(path: Path) -> dict[str, Any]:
    """What `torch.save` wrote into a file, its tensors mapped from it; nothing in it is executed.

    Raises:
        CheckpointError: not such a file, or one that holds more than tensors and plain values.
        FileNotFoundError: no such file.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError:
        raise
    except Exception as error:  # garbage fails in any way, and torch's text advises to read it unsafely
        reason = type(error).__name__
        raise CheckpointError(f"{path}: not a file of weights that can be read safely ({reason})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dict of weights")
    return content


def file_sha256(path: Path) -> str:
    """The sha256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_weights(
    module: nn.Module, tensors: Mapping[str, Tensor], unused: Collection[str] = (), *, assign: bool = False
) -> None:
    """Copy `tensors` into `module`; exactly its parameters, plus any of `unused`, must be there.

    With `assign` they become its parameters themselves, which a module on the meta device needs.

    Raises:
        CheckpointError: names the missing, the unexpected and the wrongly shaped keys.
    """
    expected = module.state_dict()
    given = {key: tensor for key, tensor in tensors.items() if key not in unused}
    problems = [f"missing {key}" for key in sorted(expected.keys() - given.keys())]
    problems += [f"unexpected {key}" for key in sorted(given.keys() - expected.keys())]
    problems += [
        f"{key} has shape {tuple(given[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & given.keys())
        if given[key].shape != expected[key].shape
    ]
    if problems:
        raise CheckpointError("the weights do not fit the model: " + "; ".join(problems))
    module.load_state_dict(given, assign=assign)
