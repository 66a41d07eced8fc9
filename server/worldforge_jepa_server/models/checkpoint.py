"""Loading weights: every key accounted for, every file checked against its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors.torch import load
from torch import Tensor, nn


class CheckpointError(Exception):
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


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], unused: Collection[str] = ()) -> None:
    """Copy `tensors` into `module`; exactly its parameters, plus any of `unused`, must be there.

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
    module.load_state_dict(given)
