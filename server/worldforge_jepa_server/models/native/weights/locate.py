"""Locates the official weights: a given path, a usual place, or the network where that is asked for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from worldforge_jepa_server.models.catalog import DINOV2_S, DINOV3_L, VJEPA2_G, Encoder
from worldforge_jepa_server.models.contract import ModelLoadError

HUB = "facebook/jepa-wms"
"""The Hugging Face repository of the official checkpoints."""
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class EncoderFile:
    """The official file of an encoder: names it goes by (globs), its folder below $JEPAWM_OSSCKPT, and its source.

    A file behind a license form has no `url`, but a `page` where it is asked for.
    """

    names: tuple[str, ...]
    folder: str
    url: str = ""
    page: str = ""


ENCODER_FILES = {
    DINOV2_S: EncoderFile(
        ("dinov2_vits14_pretrain.pth",),
        "dinov2",
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth",
    ),
    DINOV3_L: EncoderFile(
        ("dinov3_vitl16_pretrain_lvd1689m*.pth",),
        "dinov3",
        page="https://ai.meta.com/resources/models-and-libraries/dinov3-downloads/",
    ),
    VJEPA2_G: EncoderFile(
        ("vitg.pt", "vjepa2_vit_giant.pth"), "vjepa2_opensource", "https://dl.fbaipublicfiles.com/vjepa2/vitg.pt"
    ),
}


def find_checkpoint(model: str, given: str, download: bool, revision: str = "") -> Path:
    """Find the file of `model`'s weights: `given`, else JEPA_WMS_MODEL_PATH, else downloaded if `download`.

    Either may be a folder that holds NAME.safetensors or NAME.pth.tar. A download takes the file as it was at the
    commit `revision` of the repository.

    Raises:
        ModelLoadError: it is not there; the message says what to put where.
    """
    path = given or os.environ.get("JEPA_WMS_MODEL_PATH", "").strip()
    if path:
        folder = Path(path).expanduser()
        files = [folder / f"{model}.safetensors", folder / f"{model}.pth.tar"] if folder.is_dir() else [folder]
        return _first(files, "give checkpoint=PATH, or set JEPA_WMS_MODEL_PATH, to a file or folder that is there")
    if download:
        return _from_hugging_face(f"{model}.pth.tar", revision)
    raise ModelLoadError(
        f"no weights of {model} given: download {model}.pth.tar from https://huggingface.co/{HUB} and give its path as "
        "checkpoint=PATH or in JEPA_WMS_MODEL_PATH; or add download=true and revision=COMMIT, with huggingface_hub"
    )


def find_encoder(encoder: Encoder, given: str, checkpoint: Path, download: bool, digest: str = "") -> Path:
    """Find the file of `encoder`: `given`, else beside `checkpoint`, in torch hub's cache or below $JEPAWM_OSSCKPT.

    Where it is in none of them it is downloaded if `download`, which needs the `digest` that it is to have.

    Raises:
        ModelLoadError: it is not there; the message says what to put where.
    """
    if given:
        return _first([Path(given).expanduser()], "give encoder=PATH to a file that is there")
    file, cache = ENCODER_FILES[encoder], Path(torch.hub.get_dir()) / "checkpoints"
    folders = [checkpoint.parent, cache]
    if root := os.environ.get("JEPAWM_OSSCKPT", "").strip():
        folders.append(Path(root).expanduser() / file.folder)
    places = [folder / name for folder in folders for name in file.names]
    found = [match for place in places for match in sorted(place.parent.glob(place.name))]
    if not found and download and file.url:
        if not digest:
            raise ModelLoadError(f"download=true needs encoder_digest=sha256:... of {file.url}")
        _download(file.url, cache / file.names[0])
        return cache / file.names[0]
    remedy = f"download {file.url} there or give encoder=PATH, or add download=true,encoder_digest=..."
    if file.page:
        remedy = f"ask for the file at {file.page} and put it there, or give encoder=PATH"
    return _first(found or places, remedy)


def _first(places: Iterable[Path], remedy: str) -> Path:
    places = list(places)
    for place in places:
        if place.is_file():
            return place
    raise ModelLoadError(f"no file {' or '.join(map(str, places))}: {remedy}")


def _from_hugging_face(name: str, revision: str) -> Path:
    if not _COMMIT.fullmatch(revision):
        raise ModelLoadError(
            f"download=true needs revision=COMMIT, the 40 digits of a commit of https://huggingface.co/{HUB}, so that "
            f"the file cannot change; got {revision!r}"
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ModelLoadError("download=true needs huggingface_hub: pip install huggingface_hub") from error
    try:
        return Path(hf_hub_download(repo_id=HUB, filename=name, revision=revision))
    except Exception as error:  # whatever the network and its library raise
        raise _failed_download(f"{name} from {HUB}", error, "checkpoint=PATH") from error


def _download(url: str, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(place), progress=False)
    except Exception as error:  # whatever the network raises
        raise _failed_download(url, error, "encoder=PATH") from error


def _failed_download(what: str, error: Exception, option: str) -> ModelLoadError:
    return ModelLoadError(
        f"downloading {what} failed ({type(error).__name__}: {error}); fetch it by other means and give {option}"
    )
