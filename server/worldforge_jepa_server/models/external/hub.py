"""Models from torch hub: `hub:NAME`."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch

from worldforge_jepa_client.contract.spec import Identity
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import ModelLoadError, ServedModel
from worldforge_jepa_server.models.external.adapt import adapt
from worldforge_jepa_server.models.external.isolation import isolated
from worldforge_jepa_server.models.identity import git_revision
from worldforge_jepa_server.models.options import flag
from worldforge_jepa_server.models.precision import FLOAT32, Execution

REPO = "facebookresearch/jepa-wms:6eafb1486175935e4be1ded8b26fdc747ff57b7a"
"""Upstream's repository at the commit that was tested."""
_PINNED = re.compile(r"[\w.-]+/[\w.-]+:[0-9a-f]{40}")
# Requirements of the DROID models, which upstream's own errors do not explain; the first word found decides.
_OSSCKPT = "download it there and export JEPAWM_OSSCKPT"
_NEEDS = {
    "torchmetrics": "DINOv3's code needs torchmetrics: pip install torchmetrics",
    "_pretrain_lvd": f"DINOv3's weights are read below $JEPAWM_OSSCKPT/dinov3: {_OSSCKPT}",
    "vjepa2_opensource": f"V-JEPA 2's encoder is read from $JEPAWM_OSSCKPT/vjepa2_opensource: {_OSSCKPT}",
    "dinov3": "DINOv3's code is read from $JEPAWM_HOME/dinov3: clone facebookresearch/dinov3 there, export JEPAWM_HOME",
}
_WEIGHTS = (".pth", ".tar", ".pt", ".ckpt", ".safetensors")


def load(
    target: str,
    *,
    device: str,
    name: str,
    execution: Execution = FLOAT32,
    error_detail: bool = False,
    repo: str = REPO,
    pretrained: str = "true",
    trust_repo: str = "false",
    heads: str = "false",
) -> ServedModel:
    """Load the entry point `target` of a torch hub repository on `device`, to serve as `name`.

    Args:
        target: its name in hubconf.py, e.g. jepa_wm_pusht.
        device: a torch device.
        name: the name it is served under.
        execution: precision and compilation.
        error_detail: put the text of the model's exceptions into errors.
        repo: owner/name:COMMIT on GitHub, or the absolute path of a local folder.
        pretrained: passed on; false has upstream read its checkpoint below $JEPAWM_LOGS.
        trust_repo: true runs the code of a repository that is not facebookresearch's.
        heads: true keeps decoder heads, which scoring never uses.

    Raises:
        ModelLoadError: one message, with what to install or to place where.
    """
    origin = _checked_source(repo, trust_repo)
    return adapt(
        _loaded(repo, origin, target, pretrained, device, flag("heads", heads)),
        name=name,
        source=f"hub:{target}",
        device=device,
        entry=CATALOG.get(target),
        identity=_identity(repo, origin, flag("pretrained", pretrained)),
        execution=execution,
        error_detail=error_detail,
    )


def _identity(repo: str, source: str, pretrained: bool) -> Identity:
    """Return repository and commit: of GitHub as they were asked for, of a folder its name and what git says."""
    if source == "local":
        folder = Path(repo).expanduser().resolve()
        return Identity(folder.name, git_revision(folder), pretrained)
    repository, _, revision = repo.partition(":")
    return Identity(repository, revision, pretrained)


def _checked_source(repo: str, trust_repo: str) -> str:
    """Return `local` or `github`; refuse a repository that is malformed, may change, or is not trusted."""
    if Path(repo).expanduser().is_absolute():
        return "local"
    if not _PINNED.fullmatch(repo):
        raise ModelLoadError(f"repo={repo} is neither the absolute path of a folder nor owner/name:COMMIT on GitHub")
    if not (repo.startswith("facebookresearch/") or flag("trust_repo", trust_repo)):
        raise ModelLoadError(f"repo={repo} runs code of its own from the network; add trust_repo=true if you trust it")
    return "github"


def _loaded(repo: str, source: str, target: str, pretrained: str, device: str, heads: bool) -> Any:
    """Load in isolation, with or without decoder heads; explain a failure with its remedy."""
    is_local = source == "local"
    arguments = {"source": source, "pretrained": flag("pretrained", pretrained), "device": device}
    with isolated(), _without_working_directory():
        try:
            loaded = _from_hub(str(Path(repo).expanduser()) if is_local else repo, target, arguments)
        except (Exception, SystemExit) as error:
            raise ModelLoadError(f"hub:{target}: {_explained(error, repo, is_local)}") from error
    if not heads:
        _drop_heads(loaded)
    return loaded


@contextlib.contextmanager
def _without_working_directory() -> Iterator[None]:
    """Import nothing from the working directory, which `python -m` puts first."""
    before = sys.path[:]
    sys.path[:] = [folder for folder in before if folder and Path(folder) != Path.cwd()]
    try:
        yield
    finally:
        sys.path[:] = before


def _from_hub(repo: str, target: str, arguments: dict[str, Any]) -> Any:
    if arguments["source"] == "local" and not (Path(repo) / "hubconf.py").is_file():
        raise ModelLoadError(f"repo={repo} has no hubconf.py; expected a checkout of the repository")
    # Trust was decided above; torch's own query waits for an answer on stdin.
    trust: dict[str, Any] = {"trust_repo": True, "skip_validation": True} if arguments["source"] == "github" else {}
    return torch.hub.load(repo, target, **arguments, **trust)


def _explained(error: BaseException, repo: str, is_local: bool) -> str:
    if isinstance(error, ModelLoadError):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    if advice := next((advice for word, advice in _NEEDS.items() if word in str(error)), ""):
        return f"{advice} ({text})"
    if isinstance(error, ImportError) or "Missing dependencies" in str(error):
        remedy = "pip install '.[hub]' in a checkout of worldforge-jepa"
        return f"{repo} needs a Python package that is not here ({text}): {remedy}"
    if isinstance(error, FileNotFoundError) and str(error.filename).endswith(_WEIGHTS):
        return (
            f"no file {error.filename}: put the weights there; upstream looks below $JEPAWM_LOGS with pretrained=false"
        )
    # torch hub says the latter of any repository that it has not kept from an earlier download.
    if isinstance(error, URLError | ConnectionError | TimeoutError) or "no internet connection" in str(error):
        folder, steps = torch.hub.get_dir(), [] if is_local else ["clone the repository and give repo=FOLDER"]
        steps += [
            "have its checkpoint read below $JEPAWM_LOGS with pretrained=false",
            f"put encoder weights into {folder}/checkpoints",
            f"other repositories into {folder}, e.g. facebookresearch_dinov2_main",
        ]
        return f"downloading failed ({text}); without network, {', '.join(steps)}"
    return f"loading from {repo} failed with {text}"


def _drop_heads(loaded: Any) -> None:
    model = loaded[0] if isinstance(loaded, tuple) and loaded else loaded
    for owner in (model, getattr(model, "model", None)):
        heads = getattr(owner, "heads", None)
        if isinstance(heads, dict):
            heads.clear()
    gc.collect()
