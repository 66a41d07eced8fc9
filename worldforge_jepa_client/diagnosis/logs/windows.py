"""Windows of episodes, and the scene and actions that are sent of each: as they are, or as a hypothesis has them.

Letters: H horizon in model steps, f frameskip, a raw action dim, A = f a, W windows, S candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from worldforge_jepa_client.diagnosis.logs.episodes import Array, Episode, Ints

Change = Callable[[Array], Array]


def unchanged(values: Array) -> Array:
    """Return the values themselves."""
    return values


@dataclass(frozen=True)
class Hypothesis:
    """One thing that may be wrong with the inputs, as what to send instead.

    Attributes:
        name: what is wrong.
        family: the part of the client that it lives in.
        remedy: the line of client code to change.
        frame: changes a frame (3, height, width), in the log's own units.
        actions: changes raw actions (H, f, a).
        proprio: changes the proprio (P,) of a frame.
        action_lag: raw steps later that the actions are taken from.
        proprio_lag: likewise the proprio.
        goal_lag: likewise the goal's frame.
        stride: raw steps of the log for each of the model's.
        actions_are_normalized: how they are sent; None is as the user sends them.
    """

    name: str
    family: str
    remedy: str
    frame: Change = unchanged
    actions: Change = unchanged
    proprio: Change = unchanged
    action_lag: int = 0
    proprio_lag: int = 0
    goal_lag: int = 0
    stride: float = 1.0
    actions_are_normalized: bool | None = None

    @property
    def keeps_scene(self) -> bool:
        """True if it changes nothing but the actions."""
        return replace(self, name="", family="", remedy="", actions=unchanged, action_lag=0) == AS_SENT


AS_SENT = Hypothesis("", "", "")


@dataclass(frozen=True)
class Shape:
    """A window's `horizon` H in model steps of `frameskip` f raw ones."""

    horizon: int
    frameskip: int

    @property
    def steps(self) -> int:
        """Raw steps."""
        return self.horizon * self.frameskip


@dataclass(frozen=True)
class Sent:
    """A scene, and the packed actions (H, A) that led from its observation to its goal."""

    observation: dict[str, Array]
    goal: dict[str, Array]
    actions: Array


@dataclass(frozen=True)
class Windows:
    """Windows of episodes: each begins at raw step `starts` (W,) of episode number `episode` (W,)."""

    episodes: Sequence[Episode]
    episode: Ints
    starts: Ints
    shape: Shape

    def __len__(self) -> int:
        return len(self.starts)

    def first(self, count: int, horizon: int | None = None) -> Windows:
        """The first `count` windows, cut to `horizon` model steps; they are in random order."""
        shape = Shape(horizon or self.shape.horizon, self.shape.frameskip)
        return Windows(self.episodes, self.episode[:count], self.starts[:count], shape)

    def logged_actions(self) -> Array:
        """Return the packed actions of all windows (W, H, A)."""
        return np.stack([self.logged(index).actions for index in range(len(self))])

    def logged(self, index: int) -> Sent:
        """Return a window as it was logged."""
        sent = self.sent(index, AS_SENT)
        assert sent is not None, "windows lie inside their episodes"
        return sent

    def sent(self, index: int, wrong: Hypothesis) -> Sent | None:
        """Return what is sent of a window, or None where the hypothesis needs steps that the episode has not."""
        episode, start = self.episodes[self.episode[index]], int(self.starts[index])
        goal = start + round(self.shape.steps * wrong.stride)
        actions = self.actions(index, wrong)
        if actions is None or not _inside(episode, goal + wrong.goal_lag):
            return None
        now, then = (_observation(episode, step, wrong) for step in (start, goal + wrong.goal_lag))
        return None if now is None or then is None else Sent(now, then, actions)

    def actions(self, index: int, wrong: Hypothesis) -> Array | None:
        """Return a window's packed raw actions (H, A), or None as `sent` does."""
        episode = self.episodes[self.episode[index]]
        first = int(self.starts[index]) + wrong.action_lag
        # A stride of 2 takes every second action, one of a half takes each twice.
        taken = first + np.floor(np.arange(self.shape.steps) * wrong.stride).astype(int)
        if taken[0] < 0 or taken[-1] >= episode.steps:
            return None
        raw = episode.actions[taken].reshape(self.shape.horizon, self.shape.frameskip, -1)
        packed: Array = wrong.actions(raw).reshape(self.shape.horizon, -1).astype(np.float32)
        return packed


def draw_windows(episodes: Sequence[Episode], shape: Shape, count: int, seed: int) -> Windows:
    """Draw windows without replacement, taking the episodes in turns; starts are multiples of the frameskip."""
    rng = np.random.default_rng(seed)
    starts = [
        rng.permutation(np.arange(0, episode.steps - shape.steps + 1, shape.frameskip)).tolist() for episode in episodes
    ]
    drawn: list[tuple[int, int]] = []
    while len(drawn) < count and any(starts):
        turn = [index for index in rng.permutation(len(episodes)).tolist() if starts[index]]
        drawn += [(index, starts[index].pop()) for index in turn]
    chosen = np.array(drawn[:count], np.int64).reshape(-1, 2)
    return Windows(episodes, chosen[:, 0], chosen[:, 1], shape)


def draw_foreign(windows: Windows, samples: int, seed: int) -> Ints:
    """Draw for each window `samples` others of other episodes: indices (W, samples)."""
    rng = np.random.default_rng(seed)
    picks = []
    for own in windows.episode:
        others = np.flatnonzero(windows.episode != own)
        picks.append(rng.choice(others, samples, replace=len(others) < samples))
    return np.array(picks, np.int64).reshape(len(windows), samples)


def _observation(episode: Episode, step: int, wrong: Hypothesis) -> dict[str, Array] | None:
    scene: dict[str, Array] = {"visual": as_pixels(wrong.frame(np.asarray(episode.frames[step])))}
    if episode.proprio is not None:
        if not _inside(episode, step + wrong.proprio_lag):
            return None
        scene["proprio"] = wrong.proprio(episode.proprio[step + wrong.proprio_lag]).astype(np.float32)
    return scene


def as_pixels(frame: Array) -> Array:
    """Return a frame as the bytes that are sent, values beyond 0..255 clipped."""
    if frame.dtype == np.uint8:
        return np.ascontiguousarray(frame)
    clipped: Array = np.clip(np.rint(frame), 0, 255).astype(np.uint8)
    return clipped


def _inside(episode: Episode, step: int) -> bool:
    return 0 <= step <= episode.steps
