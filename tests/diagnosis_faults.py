"""Faults injected into episode logs, and the name that the diagnosis has to give each."""

import numpy as np

from worldforge_jepa_client.diagnosis.logs.changes import shift_frame

FRAMESKIP = 5


def _change(part, change):
    return lambda episode: {**episode, part: change(episode[part])}


def _repacked(actions):
    """Packed actions (n, 10) component-major, as rows of the log."""
    packed = actions.reshape(-1, FRAMESKIP, 2).swapaxes(1, 2)
    return packed.reshape(-1, 2)


FAULTS = {
    "bgr": (_change("frames", lambda x: x[:, ::-1]), "frames: channels in the order BGR"),
    "upside down": (_change("frames", lambda x: x[:, :, ::-1]), "frames: upside down"),
    "mirrored": (_change("frames", lambda x: x[..., ::-1]), "frames: mirrored"),
    "half as bright": (_change("frames", lambda x: x // 2), "frames: 2 times too dark"),
    "in 0..1": (_change("frames", lambda x: x / 255), "frames: values in 0..1"),
    "shifted": (
        _change("frames", lambda x: np.stack([shift_frame(frame, 3, 2) for frame in x])),
        "frames: shifted to the right",
    ),
    "raw as normalized": (_change("actions", lambda x: 1.5 * x), "actions: denormalized once too often"),
    "y sign": (_change("actions", lambda x: x * [1, -1]), "actions: wrong sign of dimension 1"),
    "x and y": (_change("actions", lambda x: x[:, ::-1]), "actions: dimensions in another order, [1, 0]"),
    "one step late": (_change("actions", lambda x: np.concatenate([x[:1], x[:-1]])), "actions: one step late"),
    "packing": (_change("actions", _repacked), "actions: packed in the other order"),
    "half as large": (_change("actions", lambda x: 0.5 * x), "actions: 0.5 times as large as they should be"),
    "proprio swapped": (_change("proprio", lambda x: x[:, ::-1]), "proprio: entries in another order, [1, 0]"),
    "proprio in 0..1": (_change("proprio", lambda x: x / 64), "proprio: in other units"),
}
"""Each fault as a change of one episode, beside its name."""
