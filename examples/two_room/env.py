"""Two rooms joined by a door: a point agent that sees itself from above.

Coordinates are pixels of a 64 x 64 image: x grows to the right, y downwards, and pixel (row r, column c)
covers x in [c, c + 1), y in [r, r + 1). The agent moves by at most 2.5 px per axis and step, keeps 2 px away
from everything solid, and slides along walls. A world model acts every `FRAMESKIP` = 5 steps: its action packs
5 raw actions (dx, dy), frame-major, so A = 10.

The functions on batches are the one implementation of dynamics and rendering; `TwoRoomEnv` is a batch of one.
Letters: B batch, H horizon in packed actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[np.uint8]
Observation = dict[str, Any]

SIZE = 64
FRAMESKIP = 5
MAX_STEP = 2.5
MARGIN = 2.0
WALL_HALF = 2
DOOR_HALF = 7
REACHED = 4.0
"""The agent is at the goal when it is closer than this, in px."""

WALL_X = range(22, 43)
DOOR_Y = range(14, 51)
HELD_OUT_FRACTION = 0.2

FLOOR = np.array([235, 232, 225], np.float32)
WALL = np.array([60, 70, 85], np.float32)
AGENT = np.array([214, 50, 40], np.float32)
AGENT_SIGMA = 1.5


class Layout(NamedTuple):
    """A dividing wall, `wall_x` - 2 to `wall_x` + 2, with a door, `door_y` - 7 to `door_y` + 7; in px."""

    wall_x: int
    door_y: int


@dataclass(frozen=True)
class Episode:
    """A layout with a start and a goal position, each float32 [2], (x, y) in px."""

    layout: Layout
    start: Floats
    goal: Floats


@cache
def layouts(held_out: bool) -> tuple[Layout, ...]:
    """The layouts kept for evaluation, or all the others: one fixed random split of every wall and door."""
    everything = [Layout(x, y) for x in WALL_X for y in DOOR_Y]
    order = np.random.default_rng(0).permutation(len(everything))
    split = round(HELD_OUT_FRACTION * len(everything))
    return tuple(everything[i] for i in (order[:split] if held_out else order[split:]))


def step_batch(positions: Floats, actions: Floats, layout: npt.NDArray[Any]) -> Floats:
    """One raw step: clip the action, move along x and slide, then along y and slide.

    Args:
        positions: float32 [B, 2], (x, y) in px.
        actions: [B, 2], (dx, dy) in px, clipped to +-2.5 each.
        layout: [B, 2], (wall_x, door_y); an array of `Layout`.

    Returns:
        The new positions, float32 [B, 2].
    """
    x, y = positions.T.astype(np.float32)
    dx, dy = np.clip(actions, -MAX_STEP, MAX_STEP).T.astype(np.float32)
    wall, door = np.asarray(layout, np.float32).T
    reach, opening = WALL_HALF + MARGIN, DOOR_HALF - MARGIN
    in_door = np.abs(y - door) <= opening
    new_x = np.clip(x + dx, MARGIN, SIZE - MARGIN)
    new_x = np.where(~in_door & (x <= wall - reach), np.minimum(new_x, wall - reach), new_x)
    new_x = np.where(~in_door & (x >= wall + reach), np.maximum(new_x, wall + reach), new_x)
    new_y = np.clip(y + dy, MARGIN, SIZE - MARGIN)
    in_wall = np.abs(new_x - wall) < reach
    new_y = np.where(in_wall, np.clip(new_y, door - opening, door + opening), new_y)
    return np.stack([new_x, new_y], axis=1)


def roll_batch(positions: Floats, actions: npt.NDArray[Any], layout: npt.NDArray[Any]) -> Floats:
    """Roll packed actions out.

    Args:
        positions: float32 [B, 2], px.
        actions: raw packed actions [B, H, 10], px.
        layout: [B, 2], see `step_batch`.

    Returns:
        The start and the position after every packed action, float32 [B, H + 1, 2].
    """
    batch, horizon, _ = actions.shape
    path = [np.asarray(positions, np.float32)]
    for step in actions.reshape(batch, horizon * FRAMESKIP, 2).swapaxes(0, 1):
        path.append(step_batch(path[-1], step, layout))
    return np.stack(path[::FRAMESKIP], axis=1)


def free_batch(positions: Floats, layout: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return for positions [B, 2] in `layout` [B, 2] whether the agent fits there: bool [B]."""
    inside = ((positions >= MARGIN) & (positions <= SIZE - MARGIN)).all(axis=1)
    across, along = np.abs(positions - layout).T
    free: npt.NDArray[np.bool_] = inside & ((across >= WALL_HALF + MARGIN) | (along <= DOOR_HALF - MARGIN))
    return free


def render_batch(positions: Floats, layout: npt.NDArray[Any]) -> Images:
    """Images of agents at `positions` [B, 2] in `layout` [B, 2]: uint8 [B, 3, 64, 64]."""
    wall, door = np.asarray(layout, np.float32).T[:, :, None]
    centres = np.arange(SIZE, dtype=np.float32) + 0.5
    solid = (np.abs(centres - wall) < WALL_HALF)[:, None, :] & (np.abs(centres - door) > DOOR_HALF)[:, :, None]
    x, y = np.asarray(positions, np.float32).T[:, :, None]
    along_x = np.exp(-0.5 * ((centres - x) / AGENT_SIGMA) ** 2)
    along_y = np.exp(-0.5 * ((centres - y) / AGENT_SIGMA) ** 2)
    agent = (along_y[:, :, None] * along_x[:, None, :])[:, None]
    room = np.where(solid[:, None], WALL[:, None, None], FLOOR[:, None, None])
    image: Images = np.rint(room + agent * (AGENT[:, None, None] - room)).astype(np.uint8)
    return image


def sample_position(rng: np.random.Generator, layout: Layout, room: int) -> Floats:
    """A uniform free position, float32 [2], in the left (`room` 0) or right (1) room, the door excluded."""
    reach = WALL_HALF + MARGIN
    low, high = ((MARGIN, layout.wall_x - reach), (layout.wall_x + reach, SIZE - MARGIN))[room]
    return np.array([rng.uniform(low, high), rng.uniform(MARGIN, SIZE - MARGIN)], np.float32)


def sample_episode(
    rng: np.random.Generator, crossing: bool, held_out: bool = True, min_distance: float = 12.0
) -> Episode:
    """A layout, a start and a goal at least `min_distance` px apart.

    Args:
        rng: the only source of randomness.
        crossing: the goal is in the other room, through the door, rather than in the same one.
        held_out: take a layout never seen in training.
        min_distance: straight-line distance from start to goal, px; at most 40.
    """
    choices = layouts(held_out)
    layout = choices[rng.integers(len(choices))]
    room = int(rng.integers(2))
    while True:
        start = sample_position(rng, layout, room)
        goal = sample_position(rng, layout, 1 - room if crossing else room)
        if np.linalg.norm(goal - start) >= min_distance:
            return Episode(layout, start, goal)


def observe(position: Floats, layout: Layout) -> Observation:
    """Return the observation at `position` [2]: image uint8 [3, 64, 64], proprio float32 [2] = (x, y) in px."""
    position = np.asarray(position, np.float32)
    return {"image": render_batch(position[None], np.array([layout]))[0], "proprio": position.copy()}


class TwoRoomEnv(gymnasium.Env[Observation, npt.NDArray[Any]]):
    """The two rooms as a gymnasium environment of raw steps; the frameskip is the caller's.

    Observation: {"image": uint8 [3, 64, 64], channels first as world models take it, "proprio": float32 [2]}.
    Action: float32 [2], (dx, dy) in px, clipped to +-2.5. Reward: minus the distance to the goal in px.
    Terminates within 4 px of the goal; never truncates by itself. `info`: "position", "goal", "distance".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": gymnasium.spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8),
                "proprio": gymnasium.spaces.Box(MARGIN, SIZE - MARGIN, (2,), np.float32),
            }
        )
        self.action_space = gymnasium.spaces.Box(-MAX_STEP, MAX_STEP, (2,), np.float32)
        self.episode = sample_episode(np.random.default_rng(0), crossing=False)
        self.position = self.episode.start

    @property
    def distance(self) -> float:
        """Straight-line distance from the agent to the goal, px."""
        return float(np.linalg.norm(self.position - self.episode.goal))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: seeds the sampling of whatever `options` leaves out.
            options: any of "layout" (`Layout`), "start" and "goal" (float [2], px), "crossing" (bool, by
                default random) and "held_out" (bool, default True); see `sample_episode`.
        """
        super().reset(seed=seed)
        options = options or {}
        crossing = bool(options.get("crossing", self.np_random.integers(2)))
        sampled = sample_episode(self.np_random, crossing, bool(options.get("held_out", True)))
        self.episode = Episode(
            Layout(*options.get("layout", sampled.layout)),
            np.asarray(options.get("start", sampled.start), np.float32),
            np.asarray(options.get("goal", sampled.goal), np.float32),
        )
        self.position = self.episode.start
        return self._observe()

    def step(self, action: npt.NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One raw step by `action` [2], px."""
        self.position = step_batch(self.position[None], np.asarray(action)[None], np.array([self.episode.layout]))[0]
        observation, info = self._observe()
        return observation, -self.distance, self.distance < REACHED, False, info

    def goal_observation(self) -> Observation:
        """Return the observation at the goal."""
        return observe(self.episode.goal, self.episode.layout)

    def render(self) -> Images:
        """The current image, uint8 [64, 64, 3], channels last as gymnasium's tools expect."""
        return np.moveaxis(observe(self.position, self.episode.layout)["image"], 0, -1)

    def _observe(self) -> tuple[Observation, dict[str, Any]]:
        info = {"position": self.position.copy(), "goal": self.episode.goal.copy(), "distance": self.distance}
        return observe(self.position, self.episode.layout), info
