"""Sources of episodes: `npz:DIR`, `hdf5:FILE`, `lerobot:DIR`, or any Python iterable of mappings."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from worldforge_jepa_client.diagnosis.logs.episodes import MOST_STEPS, Raw
from worldforge_jepa_client.errors import FailedPreconditionError, invalid
from worldforge_jepa_client.reasons import Reason

Source = str | Iterable[Mapping[str, Any]]
"""A source of episodes for `diagnose`."""


def read_source(source: Source) -> Iterator[Raw]:
    """Yield a source's episodes, each with its name.

    Args:
        source: "npz:DIR" (a file an episode), "hdf5:FILE" (a group an episode, or stable-worldmodel's flat columns),
            "lerobot:DIR" (a LeRobot v3 dataset on disk), or mappings of arrays by key.

    Raises:
        InvalidArgumentError: it is of no known kind, or there is nothing at its path.
        FailedPreconditionError: a package that it needs is not installed.
    """
    if not isinstance(source, str):
        return ((f"episode {index}", arrays) for index, arrays in enumerate(source))
    kind, _, place = source.partition(":")
    if kind not in _READERS or not place:
        raise invalid("episodes", f"is {source!r}; expected {', '.join(_READERS)}, then a path", Reason.INVALID_VALUE)
    path = Path(place)
    if not path.exists():
        raise invalid("episodes", f"there is nothing at {place}", Reason.INVALID_VALUE)
    return _READERS[kind](path)


def _read_npz(folder: Path) -> Iterator[Raw]:
    return ((path.name, _attempt(partial(_load_npz, path))) for path in sorted(folder.glob("*.npz")))


def _load_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_hdf5(path: Path) -> Iterator[Raw]:
    h5py = _require("h5py", "hdf5:", "hdf5")
    with _opened("an HDF5 file", path, lambda: h5py.File(path, "r")) as file:
        if "ep_len" in file and "ep_offset" in file:
            yield from _read_columns(file)
            return
        groups = file.get("data", file)  # robomimic keeps its episodes below data
        for name in sorted(groups, key=_natural):
            yield name, _attempt(partial(_flatten, groups, name, h5py.Group))


def _read_columns(file: Any) -> Iterator[Raw]:
    """stable-worldmodel's layout: every column holds all episodes one after the other."""
    for index, (first, length) in enumerate(zip(file["ep_offset"][:], file["ep_len"][:], strict=True)):
        yield f"episode {index}", _attempt(partial(_cut, file, slice(int(first), int(first + length))))


def _cut(file: Any, rows: slice) -> dict[str, Any]:
    return {name: file[name][rows] for name in file if name not in ("ep_len", "ep_offset")}


def _flatten(groups: Any, name: str, group_class: type) -> dict[str, Any]:
    """A group's arrays by their path in it."""
    if not isinstance(groups[name], group_class):
        raise TypeError("it is no group of arrays")
    found: dict[str, Any] = {}
    groups[name].visititems(lambda path, item: found.update({path: item}) if hasattr(item, "shape") else None)
    return found


def _natural(name: str) -> tuple[str, int]:
    digits = "".join(filter(str.isdigit, name))
    return name.rstrip("0123456789"), int(digits or 0)


_VIDEOS = "if a decoder of its videos is missing, install torchcodec or av, or write the log with use_videos=False"


def _read_lerobot(folder: Path) -> Iterator[Raw]:
    module = _require("lerobot.datasets.lerobot_dataset", "lerobot:", "lerobot")
    if not (folder / "meta" / "info.json").is_file():  # LeRobot would look for it on the hub
        raise invalid("episodes", f"there is no LeRobot dataset at {folder}: no meta/info.json", Reason.INVALID_VALUE)
    dataset = _opened("a LeRobot v3 dataset", folder, lambda: module.LeRobotDataset(folder.name, root=folder))
    for row in dataset.meta.episodes:
        found = _attempt(partial(_load_lerobot, dataset, row))
        if isinstance(found, Exception) and dataset.meta.video_keys:
            found = ValueError(f"{found}; {_VIDEOS}")
        yield f"episode {row['episode_index']}", found


def _load_lerobot(dataset: Any, episode: Mapping[str, Any]) -> dict[str, Any]:
    """An episode's rows as arrays by key; the first camera is also `frames`."""
    first, end = episode["dataset_from_index"], episode["dataset_to_index"]
    rows = [_row(dataset[index]) for index in range(first, min(end, first + MOST_STEPS + 1))]
    arrays = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    cameras = [key for key, array in arrays.items() if array.ndim == 4]
    return {**arrays, **({"frames": arrays[cameras[0]]} if cameras else {})}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's action and observations; an image, in LeRobot floats in 0..1, as bytes."""
    found = {key: np.asarray(row[key]) for key in row if key == "action" or key.startswith("observation.")}
    images = {key: array for key, array in found.items() if array.ndim == 3 and array.dtype.kind == "f"}
    return found | {key: np.rint(array * 255).astype(np.uint8) for key, array in images.items()}


def _attempt(read: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any] | Exception:
    """Return what is read, or the error: a file may be broken in any way, and is named for it."""
    try:
        return read()
    except Exception as error:
        return ValueError(f"cannot be read: {error}")


def _opened(expected: str, path: Path, opened: Callable[[], Any]) -> Any:
    try:
        return opened()
    except Exception as error:
        raise invalid("episodes", f"{path} cannot be read as {expected}: {error}", Reason.INVALID_VALUE) from error


def _require(module: str, kind: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FailedPreconditionError(
            f"{kind} needs {module.partition('.')[0]} ({error}): pip install '.[{extra}]' in a checkout of "
            "worldforge-jepa",
            reason=Reason.PACKAGE_MISSING,
            field="episodes",
        ) from error


_READERS = {"npz": _read_npz, "hdf5": _read_hdf5, "lerobot": _read_lerobot}
