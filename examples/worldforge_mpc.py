"""WorldForge's latent planner with a worldforge-jepa server: `python -m examples.worldforge_mpc`, on Python 3.13.

The controller samples raw actions and keeps the best, the server scores them, and the environment executes the first
model step of each plan. The frames stay in this process: the controller gets a handle for them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from examples.two_room.env import REACHED, TwoRoomEnv
from worldforge_jepa_client.provider import MPCEncoder, make_provider
from worldforge_jepa_client.tools.exit_code import exit_code

HORIZON, SAMPLES, ROUNDS = 3, 64, 12


def control(
    env: gymnasium.Env[Any, Any], controller: Any, encoder: MPCEncoder[Any], observation: Any, goal: Any
) -> Iterator[dict[str, Any]]:
    """Plan and move until the environment's episode or `ROUNDS` end; yields the `info` of each `env.step`.

    Args:
        env: was reset, and returned `observation`.
        controller: WorldForge's `LatentMPCController`, which has `encoder`.
        encoder: of the runtime of the provider with which it scores.
        observation: {"image": uint8 [3, height, width], "proprio": float32 [P]}.
        goal: likewise, the observation to reach.
    """
    for _ in range(ROUNDS):
        kept = encoder.keep(observation=model_input(observation), goal=model_input(goal))
        plan = controller.plan_step(observation_info=kept[0], goal_info=kept[1])
        for action in plan.actions:
            observation, _, terminated, truncated, info = env.step(np.array([*action.parameters.values()]))
            yield info
            if terminated or truncated:
                return


def model_input(observation: Any) -> dict[str, Any]:
    """Return an observation of the environment under the names that the encoder takes."""
    return {"visual": observation["image"], "proprio": observation["proprio"]}


def make_config(make: Any, encoder: MPCEncoder[Any]) -> Any:
    """Return WorldForge's `PlannerConfig`, which `make` makes, for the served model; one model step is executed."""
    bounds = encoder.mapping.planner_config(horizon=HORIZON)
    return make(**bounds, num_samples=SAMPLES, execute_k=bounds["horizon"] // HORIZON, seed=0)


def main() -> int:
    """Control one episode; return 0 if it reached its goal."""
    from worldforge import WorldForge
    from worldforge.control import LatentMPCController, PlannerConfig, ScoreCandidateBatch

    parser = argparse.ArgumentParser("examples.worldforge_mpc", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", help="of a running server (default: WORLDFORGE_JEPA_TARGET, or 127.0.0.1:50051)")
    parser.add_argument("--seed", type=int, default=0, help="of the episode (default: 0)")
    arguments = parser.parse_args()
    provider = make_provider(target=arguments.target, timeout=30)
    forge = WorldForge(state_dir=tempfile.mkdtemp(), auto_register_remote=False)
    forge.register_provider(provider)
    encoder = MPCEncoder(provider.runtime, ScoreCandidateBatch)
    config = make_config(PlannerConfig, encoder)
    controller = LatentMPCController(forge=forge, score_provider=provider.name, config=config, encoder=encoder)
    env = TwoRoomEnv()
    observation, info = env.reset(seed=arguments.seed, options={"crossing": False})
    print(f"{info['distance']:.1f} px from the goal")
    for step in control(env, controller, encoder, observation, env.goal_observation()):
        info = step
    print(f"{info['distance']:.1f} px from the goal")
    return 0 if info["distance"] < REACHED else 1


if __name__ == "__main__":
    sys.exit(exit_code("worldforge_mpc", main))
