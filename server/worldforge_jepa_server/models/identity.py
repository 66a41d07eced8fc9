"""The identity of a loaded model: its class, its weights' digest, and the revision of its code."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldforge_jepa_client.contract.spec import Identity

_GIT_SECONDS = 10.0


def identify(model: Any, known: Identity) -> Identity:
    """Return `known`, what is known of a model's code, with its class, its weights as they are now, and torch."""
    kind = type(model)
    return replace(
        known,
        weights_digest=weights_digest(model),
        model_class=kind.__qualname__,
        model_module=kind.__module__,
        torch=str(torch.__version__),
    )


def weights_digest(model: Any) -> str:
    """Return "sha256:<hex>" of the parameters and persistent buffers of a module, or of an object's `model`.

    The order is that of the names; each adds its name, dtype, shape and values. Empty where there is no module, or its
    weights are on the meta device.
    """
    module = module_of(model)
    tensors = {} if module is None else {key: x for key, x in module.state_dict().items() if isinstance(x, Tensor)}
    if not tensors or any(tensor.is_meta for tensor in tensors.values()):
        return ""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"


def module_of(model: Any) -> nn.Module | None:
    """Return the torch module that holds a model's weights: itself, or its attribute `model`."""
    return next((each for each in (model, getattr(model, "model", None)) if isinstance(each, nn.Module)), None)


def git_revision(folder: Path) -> str:
    """Return the commit of a folder's checkout, with "-dirty" where it was changed; empty where git knows none."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
