"""Loading weights: every key accounted for, every file checked against its digest."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from worldforge_jepa_server.models.contract import ModelLoadError

_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_SAFE_TORCH = "2.10"
"""The first torch without a known way around `weights_only`."""


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
    """Read a file written by `torch.save`, its tensors mapped from it; nothing in it is executed.

    Raises:
        CheckpointError: not such a file, one that holds more than tensors and plain values, or a torch with which
            reading it is not safe.
        FileNotFoundError: no such file.
    """
    if TorchVersion(torch.__version__) < _SAFE_TORCH:
        raise CheckpointError(
            f"{path}: torch {torch.__version__} cannot read it safely (CVE-2026-24747): install torch {_SAFE_TORCH} or "
            "later, or convert the file to safetensors where that is installed"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError:
        raise
    except Exception as error:  # garbage fails in any way, and torch's text advises to read it unsafely
        raise CheckpointError(f"{path}: not a file of weights that can be read safely ({_reason(error)})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a dict of weights")
    return content


def _reason(error: Exception) -> str:
    blocked = re.search(r"(?:GLOBAL|global|class) `?([A-Za-z_][\w.]*\.\w+)", str(error))
    return f"it holds a {blocked[1]}, which is not a tensor or plain value" if blocked else type(error).__name__


def checked_sha256(path: Path, expected: str, option: str) -> str:
    """Return the sha256 of a file, hex, where it is the `expected` one, "sha256:" and hex, or none is.

    Raises:
        CheckpointError: it is another, or `expected`, the value of `option`, is no such text.
    """
    if expected and not _DIGEST.fullmatch(expected):
        raise CheckpointError(f"{option}={expected}: expected sha256: and 64 hexadecimal digits")
    digest = file_sha256(path)
    if expected and expected != f"sha256:{digest}":
        raise CheckpointError(f"{path}: {option} is {expected}, and the file's is sha256:{digest}")
    return digest


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
        CheckpointError: counts the missing, unexpected, wrongly shaped, non-float and non-finite keys, and names the
            first of each.
    """
    expected = module.state_dict()
    given = {key: tensor for key, tensor in tensors.items() if key not in unused}
    problems = {
        "missing": expected.keys() - given.keys(),
        "unexpected": given.keys() - expected.keys(),
        "of another shape": {
            f"{key} {tuple(given[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in expected.keys() & given.keys()
            if given[key].shape != expected[key].shape
        },
    }
    listed = "; ".join(_first_keys(problem, sorted(keys)) for problem, keys in problems.items() if keys)
    if listed:
        raise CheckpointError(f"the weights do not fit the model: {listed}")
    _check_values(given)
    module.load_state_dict(given, assign=assign)


def _check_values(tensors: Mapping[str, Tensor]) -> None:
    integers = [f"{key} ({tensor.dtype})" for key, tensor in tensors.items() if not tensor.is_floating_point()]
    if integers:
        raise CheckpointError(f"weights must be floating point: {_first_keys('not', integers)}")
    broken = [key for key, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise CheckpointError(f"weights must be finite: {_first_keys('NaN or infinite', broken)}")


def _first_keys(problem: str, keys: Sequence[str], count: int = 3) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return f"{len(keys)} {problem}: {', '.join(keys[:count])}{more}"
