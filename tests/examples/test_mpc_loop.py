"""The receding-horizon loop of examples/mpc_loop.py, in the environment that the embedded model was trained on."""

from examples.mpc_loop import control
from examples.two_room.env import REACHED, Layout, TwoRoomEnv


def test_loop_reaches_goal(client):
    env = TwoRoomEnv()
    where = {"layout": Layout(40, 20), "start": (10, 50), "goal": (26, 40)}
    observation, _ = env.reset(seed=0, options=where)
    *_, last = control(env, client, observation, env.goal_observation(), seconds=60)
    assert last["distance"] < REACHED
