"""Faults injected into episode logs, and the name that the diagnosis has to give each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from worldforge_jepa_client.diagnosis.logs.changes import shift_frame

FRAMESKIP = 5
Arrays = dict[str, np.ndarray]


class Fault(NamedTuple):
    """A change of one episode, the name it is to be given, and how the actions are sent."""

    change: Callable[[Arrays], Arrays]
    name: str
    actions_are_normalized: bool = False


def _of(part: str, change: Callable[[Any], Any], name: str) -> Fault:
    return Fault(lambda episode: {**episode, part: change(episode[part])}, f"{part}: {name}")


def _repacked(actions):
    """Packed actions (n, 10) component-major, as rows of the log."""
    packed = actions.reshape(-1, FRAMESKIP, 2).swapaxes(1, 2)
    return packed.reshape(-1, 2)


FAULTS = {
    "bgr": _of("frames", lambda x: x[:, ::-1], "channels in the order BGR"),
    "upside down": _of("frames", lambda x: x[:, :, ::-1], "upside down"),
    "mirrored": _of("frames", lambda x: x[..., ::-1], "mirrored"),
    "half as bright": _of("frames", lambda x: x // 2, "2 times too dark"),
    "in 0..1": _of("frames", lambda x: (x / 255).astype(np.float32), "values in 0..1"),
    "shifted": _of("frames", lambda x: np.stack([shift_frame(each, 3, 2) for each in x]), "shifted to the right"),
    "raw as normalized": Fault(dict, "actions: raw ones sent as normalized", actions_are_normalized=True),
    "denormalized twice": _of("actions", lambda x: 1.5 * x, "denormalized once too often"),
    "y sign": _of("actions", lambda x: x * [1, -1], "wrong sign of dimension 1"),
    "x and y": _of("actions", lambda x: x[:, ::-1], "dimensions in another order, [1, 0]"),
    "one step late": _of("actions", lambda x: np.concatenate([x[:1], x[:-1]]), "one step late"),
    "packing": _of("actions", _repacked, "packed in the other order"),
    "half as large": _of("actions", lambda x: 0.5 * x, "0.5 times as large as they should be"),
    "proprio swapped": _of("proprio", lambda x: x[:, ::-1], "entries in another order, [1, 0]"),
    "proprio in 0..1": _of("proprio", lambda x: x / 64, "in other units"),
}
