"""The hypotheses on what may be wrong with the inputs, cheap ones first: actions need no frame encoded anew.

Letters: H horizon, f frameskip, a raw action dim, P proprio dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from worldforge_jepa_client.contract.spec import ModelSpec, Normalization
from worldforge_jepa_client.diagnosis.logs.changes import negate, repack, shift_frame, zoom_frame
from worldforge_jepa_client.diagnosis.logs.episodes import Array, Episode
from worldforge_jepa_client.diagnosis.logs.windows import Hypothesis, Shape

MOST_DIMS = 8
"""Action or proprio dims whose signs and swaps are tried one by one."""

LEAST_MAXIMUM = 10
"""Frames of no greater value are scaled: the client would not send them."""


def hypotheses(
    episodes: Sequence[Episode], spec: ModelSpec, shape: Shape, actions_are_normalized: bool
) -> list[Hypothesis]:
    """Return the hypotheses that apply to these episodes and this model."""
    dims, skip, statistics = episodes[0].actions.shape[1], shape.frameskip, spec.normalization
    return [
        *(_normalization(statistics, actions_are_normalized) if statistics else ()),
        *_scales(),
        *_signs(dims),
        *_orders("actions", dims),
        *(_packing() if dims > 1 and skip > 1 else ()),
        *_action_lags(sorted({1, skip})),
        *_strides(),
        *_goal_lags(skip),
        *(_proprio(episodes, spec) if episodes[0].proprio is not None else ()),
        *_channels(),
        *_brightness(),
        *_flips(),
        *_turns(),
        *_shifts(max(1, round(episodes[0].frames.shape[2] * 3 / 64))),
        *_crops(),
    ]


def out_of_range(episodes: Sequence[Episode]) -> Hypothesis | None:
    """Return what is wrong with frames whose values cannot be of 0..255; None of others."""
    sample = np.concatenate([np.asarray(episode.frames[:1], np.float32).ravel() for episode in episodes])
    low, high = sample.min(), sample.max()
    if low < 0 and high < LEAST_MAXIMUM:
        name = "in -1..1" if low >= -1 and high <= 1 else "standardized"
        return Hypothesis(f"frames: values {name}", "value range", "frame = 255 * (frame * pixel_std + pixel_mean)")
    if 0 < high <= 1:
        return Hypothesis("frames: values in 0..1", "value range", "frame = 255 * frame")
    return None


def _normalization(published: Normalization, normalized: bool) -> Iterator[Hypothesis]:
    mean, std = (np.array(values, np.float32) for values in (published.action_mean, published.action_std))
    yield Hypothesis(
        "actions: raw ones sent as normalized" if normalized else "actions: normalized ones sent as raw",
        "action normalization",
        f"score(..., actions_are_normalized={not normalized})",
        actions_are_normalized=not normalized,
    )
    if not normalized:
        yield Hypothesis(
            "actions: denormalized once too often",
            "action normalization",
            "actions = (actions - action_mean) / action_std",
            actions=lambda raw: (raw - mean) / std,
        )


def _scales() -> Iterator[Hypothesis]:
    for factor in (0.1, 0.5, 2.0, 10.0):
        name, remedy = f"actions: {1 / factor:g} times as large as they should be", f"actions = {factor:g} * actions"
        yield Hypothesis(name, "action scale", remedy, actions=partial(np.multiply, factor))


def _signs(dims: int) -> Iterator[Hypothesis]:
    for dim in range(min(dims, MOST_DIMS)):
        name, remedy = f"actions: wrong sign of dimension {dim}", f"actions[..., {dim}] *= -1"
        yield Hypothesis(name, "action sign", remedy, actions=partial(negate, dims=[dim]))
    if dims > 1:
        name, remedy = "actions: wrong sign of every dimension", "actions = -actions"
        yield Hypothesis(name, "action sign", remedy, actions=np.negative)


def _orders(part: str, dims: int) -> Iterator[Hypothesis]:
    """Yield other orders of the entries of `part`, actions or proprio."""
    entries = "dimensions" if part == "actions" else "entries"
    for order in orders(dims):
        name, remedy = f"{part}: {entries} in another order, {order}", f"{part} = {part}[..., {order}]"
        change: Any = {part: partial(np.take, indices=order, axis=-1)}
        yield Hypothesis(name, f"{part.removesuffix('s')} order", remedy, **change)


def _packing() -> Iterator[Hypothesis]:
    remedy = "pack frame-major: actions.reshape(H, frameskip * raw_action_dim)"
    yield Hypothesis("actions: packed in the other order", "packing order", remedy, actions=repack)


def _action_lags(steps: Sequence[int]) -> Iterator[Hypothesis]:
    for lag in (sign * step for step in steps for sign in (1, -1)):
        name = f"actions: {_steps(lag)} {'late' if lag > 0 else 'early'}"
        yield Hypothesis(name, "action lag", f"pair frames[t] with actions[{_at(lag)}]", action_lag=lag)


def _strides() -> Iterator[Hypothesis]:
    for stride, said in ((2.0, "twice"), (0.5, "half")):
        name = f"frameskip: the log has {said} the model's rate of steps"
        yield Hypothesis(name, "frameskip", f"take {stride:g} logged steps for each of the model's", stride=stride)


def _goal_lags(step: int) -> Iterator[Hypothesis]:
    for lag in (step, -step):
        name = f"goal: its frame is {_steps(lag)} {'early' if lag > 0 else 'late'}"
        yield Hypothesis(name, "goal frame", f"goal = frames[{_at(lag)}]", goal_lag=lag)


def _proprio(episodes: Sequence[Episode], spec: ModelSpec) -> Iterator[Hypothesis]:
    values = np.concatenate([episode.proprio for episode in episodes if episode.proprio is not None])
    yield from _orders("proprio", values.shape[1])
    for lag in (1, -1):
        name = f"proprio: one step {'late' if lag > 0 else 'early'}"
        yield Hypothesis(name, "proprio lag", f"pair frames[t] with proprio[{_at(lag)}]", proprio_lag=lag)
    for factor, said in ((np.pi / 180, "in degrees"), (180 / np.pi, "in radians")) if spec.proprio_dim > 2 else ():
        remedy = f"proprio = {factor:.5g} * proprio"
        yield Hypothesis(f"proprio: {said}", "proprio units", remedy, proprio=partial(np.multiply, factor))
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


def _channels() -> Iterator[Hypothesis]:
    name = "frames: channels in the order BGR"
    yield Hypothesis(name, "channel order", "frame = frame[::-1]", frame=lambda frame: frame[::-1])


def _brightness() -> Iterator[Hypothesis]:
    for gain in (2.0, 1.4, 0.7, 0.5):
        name = f"frames: {f'{gain:g} times too dark' if gain > 1 else f'{1 / gain:.3g} times too bright'}"
        yield Hypothesis(name, "brightness", f"frame = {gain:g} * frame", frame=partial(np.multiply, np.float32(gain)))


def _flips() -> Iterator[Hypothesis]:
    yield Hypothesis("frames: upside down", "flip", "frame = frame[:, ::-1]", frame=lambda x: x[:, ::-1])
    yield Hypothesis("frames: mirrored", "flip", "frame = frame[:, :, ::-1]", frame=lambda x: x[:, :, ::-1])


def _turns() -> Iterator[Hypothesis]:
    for turns, said in ((1, "a quarter clockwise"), (2, "by half"), (3, "a quarter counter-clockwise")):
        turn, remedy = partial(np.rot90, k=turns, axes=(1, 2)), f"frame = np.rot90(frame, {turns}, axes=(1, 2))"
        yield Hypothesis(f"frames: turned {said}", "turn", remedy, frame=turn)


def _shifts(pixels: int) -> Iterator[Hypothesis]:
    sides = (("down", 1, -1), ("up", 1, 1), ("to the right", 2, -1), ("to the left", 2, 1))
    for side, axis, sign in sides:
        back = partial(shift_frame, pixels=sign * pixels, axis=axis)
        remedy = f"frame = np.roll(frame, {sign * pixels}, axis={axis}), or mend the crop that shifts it"
        yield Hypothesis(f"frames: shifted {side}", "shift", remedy, frame=back)


def _crops() -> Iterator[Hypothesis]:
    for zoom, said in ((0.875, "wide"), (1.143, "narrow")):
        remedy = f"scale what the camera sees by {1 / zoom:.3g}"
        yield Hypothesis(f"frames: cropped too {said}", "crop", remedy, frame=partial(zoom_frame, share=zoom))


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


def _at(lag: int) -> str:
    return f"t {'+' if lag > 0 else '-'} {abs(lag)}"
