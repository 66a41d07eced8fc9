"""The two rooms: gymnasium's rules, walls that block, a door that lets through."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from examples.two_room.data import sample_starts, sample_trajectories
from examples.two_room.env import (
    MARGIN,
    SIZE,
    Layout,
    TwoRoomEnv,
    free_batch,
    layouts,
    render_batch,
    roll_batch,
    sample_episode,
    step_batch,
)

B, H = 64, 6
LAYOUT = Layout(wall_x=32, door_y=20)
EAST = np.array([[2.5, 0.0]], np.float32)


def walk(start: tuple[float, float], actions: np.ndarray, layout: Layout = LAYOUT) -> np.ndarray:
    position = np.array([start], np.float32)
    for action in actions:
        position = step_batch(position, action[None], np.array([layout]))
    return position[0]


def random_batch(seed: int = 0):
    rng = np.random.default_rng(seed)
    layout = np.array(layouts(held_out=False))[rng.integers(600, size=B)]
    actions = rng.normal(0, 2, (B, H, 10)).astype(np.float32)
    return sample_starts(rng, layout, near_door=0.5), actions, layout


@pytest.mark.filterwarnings("ignore:.*(normalized space|alternative render modes):UserWarning")
def test_gymnasium_accepts_it():
    check_env(TwoRoomEnv(render_mode="rgb_array"))


def test_the_wall_blocks_and_the_door_passes():
    assert walk((20, 50), np.repeat(EAST, 20, axis=0)).tolist() == [28, 50]
    assert walk((20, 20), np.repeat(EAST, 20, axis=0)).tolist() == [62, 20]


def test_the_agent_slides_along_the_wall_into_the_door():
    diagonal = np.array([[2.5, -2.5]], np.float32)
    assert walk((28, 40), np.repeat(diagonal, 20, axis=0))[0] > 32


def test_the_door_frame_stops_the_agent_inside_the_door():
    south = np.array([[0.0, 2.5]], np.float32)
    assert walk((32, 20), np.repeat(south, 9, axis=0)).tolist() == [32, 25]


def test_the_outer_walls_stop_the_agent():
    assert walk((5, 5), np.full((9, 2), -9.0, np.float32)).tolist() == [MARGIN, MARGIN]
    assert walk((60, 60), np.full((9, 2), 9.0, np.float32)).tolist() == [SIZE - MARGIN, SIZE - MARGIN]


def test_a_step_is_clipped_per_axis():
    assert walk((10, 10), np.array([[9.0, -1.0]], np.float32)).tolist() == [12.5, 9.0]


def test_the_agent_never_ends_in_a_wall():
    starts, actions, layout = random_batch()
    path = roll_batch(starts, actions, layout)
    assert path.shape == (B, H + 1, 2)
    assert all(free_batch(path[:, t], layout).all() for t in range(H + 1))


def test_a_batched_step_equals_single_steps():
    starts, actions, layout = random_batch()
    path, images = roll_batch(starts, actions, layout), render_batch(starts, layout)
    for i in range(0, B, 8):
        one = slice(i, i + 1)
        np.testing.assert_array_equal(path[one], roll_batch(starts[one], actions[one], layout[one]))
        np.testing.assert_array_equal(images[one], render_batch(starts[one], layout[one]))


def test_the_environment_is_a_batch_of_one():
    starts, actions, layout = random_batch()
    env = TwoRoomEnv()
    env.reset(seed=0, options={"layout": layout[0], "start": starts[0], "goal": (60, 60)})
    for raw in actions[0].reshape(-1, 2):
        observation, _, _, _, info = env.step(raw)
    end = roll_batch(starts[:1], actions[:1], layout[:1])[0, -1]
    np.testing.assert_array_equal(observation["proprio"], end)
    np.testing.assert_array_equal(observation["image"], render_batch(end[None], layout[:1])[0])
    np.testing.assert_array_equal(info["position"], end)


def test_the_seed_decides_everything():
    one, other = (TwoRoomEnv().reset(seed=7)[0] for _ in range(2))
    np.testing.assert_array_equal(one["image"], other["image"])
    np.testing.assert_array_equal(one["proprio"], other["proprio"])
    a, b = (sample_trajectories(np.random.default_rng(3), 2, 3, H, near_door=0.5) for _ in range(2))
    np.testing.assert_array_equal(a.positions, b.positions)
    np.testing.assert_array_equal(a.actions, b.actions)


def test_the_goal_is_seen_and_reached():
    env = TwoRoomEnv()
    env.reset(seed=0, options={"layout": LAYOUT, "start": (10, 20), "goal": (20, 20)})
    goal = env.goal_observation()
    distances = []
    for _ in range(4):
        observation, reward, terminated, truncated, _ = env.step(EAST[0])
        distances.append((-reward, terminated, truncated))
    assert distances == [(7.5, False, False), (5.0, False, False), (2.5, True, False), (0.0, True, False)]
    np.testing.assert_array_equal(observation["image"], goal["image"])


@pytest.mark.parametrize("crossing", [False, True])
def test_episodes_are_where_they_should_be(crossing):
    rng = np.random.default_rng(0)
    for _ in range(50):
        episode = sample_episode(rng, crossing)
        start_side, goal_side = (p[0] > episode.layout.wall_x for p in (episode.start, episode.goal))
        assert (start_side != goal_side) == crossing
        assert np.linalg.norm(episode.start - episode.goal) >= 12
        assert episode.layout in layouts(held_out=True)


def test_held_out_layouts_are_never_trained_on():
    assert not set(layouts(True)) & set(layouts(False))
    data = sample_trajectories(np.random.default_rng(0), 200, 1, 1, near_door=0.5)
    assert {tuple(row) for row in data.layout.tolist()} <= set(layouts(False))


def test_the_rendered_walls_and_door_match_the_layout():
    image = render_batch(np.array([[10.5, 40.5]], np.float32), np.array([LAYOUT]))[0].astype(int)
    dark = image.sum(0) < 300
    assert dark[40, 30:34].all()
    assert not dark[20, 28:36].any()
    assert image[0, 40, 10] > 200
    assert image[1, 40, 10] < 80
