"""Sources of episodes: `npz:DIR`, `hdf5:FILE`, `lerobot:DIR`, or any Python iterable of mappings."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from worldforge_jepa_client.diagnosis.logs.episodes import Raw
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
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                yield path.name, dict(arrays)
        except Exception as error:  # a broken zip raises whatever zlib and zipfile do
            yield path.name, error


def _read_hdf5(path: Path) -> Iterator[Raw]:
    h5py = _require("h5py", "hdf5:", "hdf5")
    with h5py.File(path, "r") as file:
        if "ep_len" in file and "ep_offset" in file:
            yield from _read_columns(file)
            return
        groups = file.get("data", file)  # robomimic keeps its episodes below data
        for name in sorted(groups, key=_natural):
            yield name, _flatten(groups[name], h5py.Group)


def _read_columns(file: Any) -> Iterator[Raw]:
    """stable-worldmodel's layout: every column holds all episodes one after the other."""
    columns = [name for name in file if name not in ("ep_len", "ep_offset")]
    for index, (first, length) in enumerate(zip(file["ep_offset"][:], file["ep_len"][:], strict=True)):
        yield f"episode {index}", {name: file[name][int(first) : int(first + length)] for name in columns}


def _flatten(group: Any, group_class: Any) -> dict[str, Any] | Exception:
    """A group's arrays by their path in it."""
    if not isinstance(group, group_class):
        return ValueError("is no group of arrays")
    found: dict[str, Any] = {}
    group.visititems(lambda name, item: found.update({name: item}) if hasattr(item, "shape") else None)
    return found


def _natural(name: str) -> tuple[str, int]:
    digits = "".join(filter(str.isdigit, name))
    return name.rstrip("0123456789"), int(digits or 0)


def _read_lerobot(folder: Path) -> Iterator[Raw]:
    module = _require("lerobot.datasets.lerobot_dataset", "lerobot:", "lerobot")
    dataset = module.LeRobotDataset(folder.name, root=folder)
    for row in dataset.meta.episodes:
        rows = [dataset[index] for index in range(row["dataset_from_index"], row["dataset_to_index"])]
        yield f"episode {row['episode_index']}", _stacked(rows)


def _stacked(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """LeRobot's rows as arrays by key; its images are floats in 0..1, and the first camera is `frames`."""
    wanted = [key for key in rows[0] if key == "action" or key.startswith("observation.")]
    arrays = {key: np.stack([np.asarray(row[key]) for row in rows]) for key in wanted}
    images = {
        key: np.rint(array * 255).astype(np.uint8) if array.dtype.kind == "f" else array
        for key, array in arrays.items()
        if array.ndim == 4
    }
    return {**arrays, **images, **({"frames": next(iter(images.values()))} if images else {})}


def _require(module: str, kind: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FailedPreconditionError(
            f"{kind} needs {module.partition('.')[0]} ({error}): pip install 'worldforge-jepa[{extra}]'",
            reason=Reason.PACKAGE_MISSING,
            field="episodes",
        ) from error


_READERS = {"npz": _read_npz, "hdf5": _read_hdf5, "lerobot": _read_lerobot}
