"""The hypotheses on what may be wrong with the inputs, cheap ones first: actions need no frame encoded anew.

Letters: H horizon, f frameskip, a raw action dim, P proprio dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.diagnosis.logs.changes import negate, repack, shift_frame, zoom_frame
from worldforge_jepa_client.diagnosis.logs.episodes import Array, Episode
from worldforge_jepa_client.diagnosis.logs.windows import Hypothesis, Shape

MOST_DIMS = 8
"""Action or proprio dims whose signs and swaps are tried one by one."""


def hypotheses(
    episodes: Sequence[Episode], spec: ModelSpec, shape: Shape, actions_are_normalized: bool
) -> list[Hypothesis]:
    """Return the hypotheses that apply to these episodes and this model."""
    return [
        *_action_values(spec, actions_are_normalized),
        *_action_order(episodes[0].actions.shape[1], shape),
        *_timing(shape),
        *(_proprio(episodes, spec) if episodes[0].proprio is not None else ()),
        *_pixels(episodes),
        *_geometry(episodes[0].frames.shape[2:]),
    ]


def _action_values(spec: ModelSpec, normalized: bool) -> Iterator[Hypothesis]:
    if spec.normalization is not None:
        mean, std = (np.array(v, np.float32) for v in (spec.normalization.action_mean, spec.normalization.action_std))
        yield Hypothesis(
            "actions: raw ones sent as normalized" if normalized else "actions: normalized ones sent as raw",
            "action normalization",
            f"score(..., actions_are_normalized={not normalized})",
            actions_are_normalized=not normalized,
        )
        yield Hypothesis(
            "actions: not normalized" if normalized else "actions: denormalized once too often",
            "action normalization",
            "actions = (actions - action_mean) / action_std",
            actions=lambda raw: (raw - mean) / std,
        )
    for factor in (0.1, 0.5, 2.0, 10.0):
        yield Hypothesis(
            f"actions: {1 / factor:g} times as large as they should be",
            "action scale",
            f"actions = {factor:g} * actions",
            actions=partial(np.multiply, factor),
        )


def _action_order(dims: int, shape: Shape) -> Iterator[Hypothesis]:
    for dim in range(min(dims, MOST_DIMS)):
        yield Hypothesis(
            f"actions: wrong sign of dimension {dim}",
            "action sign",
            f"actions[..., {dim}] *= -1",
            actions=partial(negate, dims=[dim]),
        )
    if dims > 1:
        yield Hypothesis(
            "actions: wrong sign of every dimension", "action sign", "actions = -actions", actions=np.negative
        )
    for order in orders(dims):
        yield Hypothesis(
            f"actions: dimensions in another order, {order}",
            "action order",
            f"actions = actions[..., {order}]",
            actions=partial(np.take, indices=order, axis=-1),
        )
    if dims > 1 and shape.frameskip > 1:
        yield Hypothesis(
            "actions: packed in the other order",
            "packing order",
            "pack frame-major: actions.reshape(H, frameskip * raw_action_dim)",
            actions=repack,
        )


def _timing(shape: Shape) -> Iterator[Hypothesis]:
    for lag in (1, -1) if shape.frameskip == 1 else (1, -1, shape.frameskip, -shape.frameskip):
        when = "late" if lag > 0 else "early"
        yield Hypothesis(
            f"actions: {_steps(lag)} {when}",
            "action lag",
            f"pair frames[t] with actions[t {'+' if lag > 0 else '-'} {abs(lag)}]",
            action_lag=lag,
        )
    for stride, said in ((2.0, "twice"), (0.5, "half")):
        yield Hypothesis(
            f"frameskip: the log has {said} the model's rate of steps",
            "frameskip",
            f"take {stride:g} logged steps for each step of the model",
            stride=stride,
        )
    for lag in (shape.frameskip, -shape.frameskip):
        yield Hypothesis(
            f"goal: its frame is {_steps(lag)} {'early' if lag > 0 else 'late'}",
            "goal frame",
            f"goal = frames[t {'+' if lag > 0 else '-'} {abs(lag)}]",
            goal_lag=lag,
        )


def _proprio(episodes: Sequence[Episode], spec: ModelSpec) -> Iterator[Hypothesis]:
    values = np.concatenate([episode.proprio for episode in episodes if episode.proprio is not None])
    for order in orders(values.shape[1]):
        yield Hypothesis(
            f"proprio: entries in another order, {order}",
            "proprio order",
            f"proprio = proprio[..., {order}]",
            proprio=partial(np.take, indices=order, axis=-1),
        )
    for lag in (1, -1):
        yield Hypothesis(
            f"proprio: one step {'late' if lag > 0 else 'early'}",
            "proprio lag",
            f"pair frames[t] with proprio[t {'+' if lag > 0 else '-'} 1]",
            proprio_lag=lag,
        )
    for factor, said in ((np.pi / 180, "in degrees"), (180 / np.pi, "in radians")):
        if spec.proprio_dim > 2:
            yield Hypothesis(
                f"proprio: {said}",
                "proprio units",
                f"proprio = {factor:.5g} * proprio",
                proprio=partial(np.multiply, factor),
            )
    if spec.normalization is not None and spec.normalization.proprio_std:
        yield from _proprio_statistics(values, spec.normalization.proprio_mean, spec.normalization.proprio_std)


def _proprio_statistics(values: Array, mean: Sequence[float], std: Sequence[float]) -> Iterator[Hypothesis]:
    """Yield hypotheses that proprio has other units, told by the log's statistics beside the published ones."""
    own_mean, own_std = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-6)
    yield Hypothesis(
        "proprio: normalized already",
        "proprio normalization",
        "proprio = proprio * proprio_std + proprio_mean",
        proprio=lambda raw: raw * np.array(std) + np.array(mean),
    )
    yield Hypothesis(
        "proprio: in other units",
        "proprio units",
        "send proprio in the units of the model's training data, see its proprio_mean and proprio_std",
        proprio=lambda raw: (raw - own_mean) / own_std * np.array(std) + np.array(mean),
    )


def _pixels(episodes: Sequence[Episode]) -> Iterator[Hypothesis]:
    yield Hypothesis(
        "frames: channels in the order BGR", "channel order", "frame = frame[::-1]", frame=lambda x: x[::-1]
    )
    sample = np.concatenate([np.asarray(episode.frames[:1], np.float32).ravel() for episode in episodes])
    if sample.max() <= 1.5 and sample.min() >= 0:
        yield _value_range("in 0..1", "frame = 255 * frame", 255.0, 0.0)
    if sample.min() < 0:
        yield _value_range("in -1..1", "frame = 127.5 * (frame + 1)", 127.5, 127.5)
        yield _value_range("standardized", "frame = 255 * (frame * pixel_std + pixel_mean)", 57.0, 120.0)
    for gain in (2.0, 1.4, 0.7, 0.5):
        yield Hypothesis(
            f"frames: {f'{gain:g} times too dark' if gain > 1 else f'{1 / gain:.3g} times too bright'}",
            "brightness",
            f"frame = {gain:g} * frame",
            frame=partial(np.multiply, np.float32(gain)),
        )


def _value_range(said: str, remedy: str, gain: float, offset: float) -> Hypothesis:
    def change(frame: Array) -> Array:
        return frame.astype(np.float32) * gain + offset

    return Hypothesis(f"frames: values {said}", "value range", remedy, frame=change)


def _geometry(size: tuple[int, ...]) -> Iterator[Hypothesis]:
    yield Hypothesis("frames: upside down", "flip", "frame = frame[:, ::-1]", frame=lambda x: x[:, ::-1])
    yield Hypothesis("frames: mirrored", "flip", "frame = frame[:, :, ::-1]", frame=lambda x: x[:, :, ::-1])
    for turns, said in ((1, "a quarter clockwise"), (2, "by half"), (3, "a quarter counter-clockwise")):
        yield Hypothesis(
            f"frames: turned {said}",
            "turn",
            f"frame = np.rot90(frame, {turns}, axes=(1, 2))",
            frame=partial(np.rot90, k=turns, axes=(1, 2)),
        )
    pixels = max(1, round(size[0] * 3 / 64))
    for axis, sides in ((1, ("down", "up")), (2, ("to the right", "to the left"))):
        for sign in (1, -1):
            yield Hypothesis(
                f"frames: shifted {sides[sign < 0]}",
                "shift",
                f"frame = np.roll(frame, {-sign * pixels}, axis={axis}), or mend the crop that shifts it",
                frame=partial(shift_frame, pixels=-sign * pixels, axis=axis),
            )
    for zoom in (0.875, 1.143):
        yield Hypothesis(
            f"frames: cropped too {'wide' if zoom < 1 else 'narrow'}",
            "crop",
            f"scale what the camera sees by {1 / zoom:.3g}",
            frame=partial(zoom_frame, share=zoom),
        )


def orders(dims: int) -> list[list[int]]:
    """Return other orders of `dims` entries: each swap of two, and the reverse; for many dims only neighbours swap."""
    natural = list(range(dims))
    pairs = combinations(natural, 2) if dims <= 4 else ((dim, dim + 1) for dim in natural[: MOST_DIMS - 1])
    found = []
    for i, j in pairs:
        swapped = natural.copy()
        swapped[i], swapped[j] = j, i
        found.append(swapped)
    return found if dims <= 2 or natural[::-1] in found else [*found, natural[::-1]]


def _steps(lag: int) -> str:
    return "one step" if abs(lag) == 1 else f"{abs(lag)} steps"
