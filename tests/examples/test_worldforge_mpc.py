"""The loop of examples/worldforge_mpc.py with a stand-in of WorldForge's controller, in the model's environment."""

from examples.two_room.env import REACHED, Layout, TwoRoomEnv
from examples.worldforge_mpc import control, make_config
from tests.provider.test_mpc import Forge
from tests.provider.worldforge_standin import LatentMPCController, PlannerConfig, ScoreCandidateBatch
from worldforge_jepa_client.provider.mpc import MPCEncoder


def test_loop_reaches_goal(runtime):
    env = TwoRoomEnv()
    where = {"layout": Layout(40, 20), "start": (10, 50), "goal": (26, 40)}
    observation, _ = env.reset(seed=0, options=where)
    encoder = MPCEncoder(runtime, ScoreCandidateBatch)
    config = make_config(PlannerConfig, encoder)
    controller = LatentMPCController(forge=Forge(runtime), score_provider="jepa-wms", config=config, encoder=encoder)
    *_, last = control(env, controller, encoder, observation, env.goal_observation())
    assert last["distance"] < REACHED
