"""The provider's test call: four candidates, one of which leads from start to goal. Needs numpy alone."""

import numpy as np

S, H, A = 4, 4, 10
RIGHT, LEFT, UP, DOWN = range(S)
STEPS = [(1.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (0.0, 1.0)]
"""One raw action of each candidate, px; H * A / 2 = 20 of the first end at the goal."""

PATIENCE = 30  # seconds a call may take on a busy machine; none of these tests is about speed


def candidates(order=(RIGHT, LEFT, UP, DOWN)):
    """float32 [1, S, H, A]: each candidate repeats its step."""
    return np.array([[np.tile(STEPS[index], (H, A // 2)) for index in order]], np.float32)


def info_of(scene):
    """The arrays of a scene, start and goal, as WorldForge's `info` names them."""
    return {
        "observation": scene["start_image"],
        "goal": scene["goal_image"],
        "observation_proprio": scene["start"],
        "goal_proprio": scene["goal"],
    }
