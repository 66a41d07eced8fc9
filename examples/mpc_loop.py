"""From a plan to `env.step`: receding-horizon control of a gymnasium environment, `python -m examples.mpc_loop`.

Each round plans from the present frame, executes the first model step of the plan, and looks again. The next plan
starts from the rest of this one. A plan is in the model's normalized actions, one for each model step; `ActionMapping`
turns a model step into `frameskip` raw actions, which `env.step` takes one at a time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from examples.two_room.env import REACHED, TwoRoomEnv
from worldforge_jepa_client import Client
from worldforge_jepa_client.actions import ActionMapping
from worldforge_jepa_client.planning import CEM, plan, shift_plan
from worldforge_jepa_client.tools.exit_code import exit_code

HORIZONS = (4, 4, 4, 4, 3, 2, 1)
"""Model steps of each plan: only the last predicted frame is scored, so plans end where the episode is to end."""


def control(
    env: gymnasium.Env[Any, Any], client: Client, observation: Any, goal: Any, *, seconds: float = 1.0
) -> Iterator[dict[str, Any]]:
    """Plan and move until the environment's episode or `HORIZONS` ends; yields the `info` of each `env.step`.

    Args:
        env: was reset, and returned `observation`.
        client: connected to a server whose model was trained on this environment.
        observation: {"image": uint8 [3, height, width], "proprio": float32 [P]}.
        goal: likewise, the observation to reach.
        seconds: deadline of each call; the robot stands still while it waits.
    """
    model, warm_start = client.model(), None
    mapping = ActionMapping(model)
    with client.session(observation=model_input(observation), goal=model_input(goal), timeout=seconds) as session:
        for horizon in HORIZONS:
            session.observe(model_input(observation))
            planner = CEM(
                horizon=horizon,
                action_dim=model.raw_action_dim,  # one raw action for each model step, held for all of it
                rng=0,
                samples=64,
                initial_mean=None if warm_start is None else shift_plan(warm_start, 1, horizon),
                min_std=0.05,
            )
            warm_start = plan(planner, lambda held: session.score(np.tile(held, model.frameskip)).costs, iterations=5)
            steps: list[dict[str, Any]] = mapping.actions(np.tile(warm_start[None, :1], model.frameskip))[0]
            for step in steps:
                observation, _, terminated, truncated, info = env.step(np.array([*step["parameters"].values()]))
                yield info
                if terminated or truncated:
                    return


def model_input(observation: Any) -> dict[str, Any]:
    """Return an observation of the environment under the names that the client takes."""
    return {"visual": observation["image"], "proprio": observation["proprio"]}


def main() -> int:
    """Control one episode; return 0 if it reached its goal."""
    parser = argparse.ArgumentParser("examples.mpc_loop", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", default="127.0.0.1:50051", help="of a running server (default: 127.0.0.1:50051)")
    parser.add_argument("--seed", type=int, default=0, help="of the episode (default: 0)")
    arguments = parser.parse_args()
    env = TwoRoomEnv()
    observation, info = env.reset(seed=arguments.seed, options={"crossing": False})
    print(f"{info['distance']:.1f} px from the goal")
    with Client(arguments.target, timeout=30) as client:
        for step in control(env, client, observation, env.goal_observation()):
            info = step
    print(f"{info['distance']:.1f} px from the goal")
    return 0 if info["distance"] < REACHED else 1


if __name__ == "__main__":
    sys.exit(exit_code("mpc_loop", main))
