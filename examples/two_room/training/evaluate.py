"""Measure the embedded model on unseen layouts: `python -m examples.two_room.training.evaluate`.

How the score of candidate plans ranks them against where they truly end, and how often a planner that sees only
scores reaches the goal. Everything follows from the seed: each process has one thread. Letters: S candidates, H
horizon, A action dim.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from examples.two_room.control import INITIAL_STD, Planning, drive, pack, to_raw, walk
from examples.two_room.env import MAX_STEP, REACHED, Episode, Floats, Observation, observe, sample_episode
from examples.two_room.training.card import write_evaluation
from worldforge_jepa_client.contract.spec import Normalization
from worldforge_jepa_client.planning import Score
from worldforge_jepa_client.tools.exit_code import exit_code
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.models.contract import Latents, WorldModel
from worldforge_jepa_server.models.contract import Observation as Frames
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.tools.parity import rank_correlation

HORIZONS = (4, 6)
WEIGHTS = (0.0, 0.1)
SCENES, CANDIDATES = 50, 64
SHOOTING_HORIZON = 6

Policy = Callable[[Episode, np.random.Generator], Floats]
"""An episode and its randomness to the final position, float32 [2], px."""


def encode(model: WorldModel, observation: Observation) -> Latents:
    """One observation of the environment to latents [1, 1, N, D]."""
    image, proprio = (torch.from_numpy(observation[key])[None, None] for key in ("image", "proprio"))
    return model.encode(Frames(image, proprio))


def scorer(model: WorldModel, now: Observation, goal: Observation, proprio_weight: float) -> Score:
    """Score plans [1, S, H, 2] by the latent distance of where they end to the goal."""
    start, target = encode(model, now), encode(model, goal)

    def score(plans: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        *_, end = model.unroll(start, torch.from_numpy(pack(plans[0]).swapaxes(0, 1)), None)
        scores: npt.NDArray[np.float32] = distance(end, target, model.spec.objective, proprio_weight).numpy()
        return scores

    return score


def sample_plans(rng: np.random.Generator, samples: int, horizon: int) -> npt.NDArray[np.float32]:
    """Random plans [S, H, 2] in the model's action units and in the action space, as a planner first draws them."""
    bound = MAX_STEP / tiny.CONFIG.normalization.action_std[0]
    plans: npt.NDArray[np.float32] = INITIAL_STD * rng.standard_normal((samples, horizon, 2), dtype=np.float32)
    return plans.clip(-bound, bound)


def median_correlation(model: WorldModel, horizon: int, proprio_weight: float, seed: int) -> float:
    """Of score and true final distance, over scenes; every other goal is through the door."""
    rng = np.random.default_rng(seed)
    found = []
    for scene in range(SCENES):
        episode = sample_episode(rng, crossing=bool(scene % 2))
        now, goal = (observe(position, episode.layout) for position in (episode.start, episode.goal))
        plans = sample_plans(rng, CANDIDATES, horizon)
        scores = np.asarray(scorer(model, now, goal, proprio_weight)(plans[None]))
        ends = walk(episode, episode.start, to_raw(plans, normalization(model)))[:, -1]
        found.append(rank_correlation(scores, np.linalg.norm(ends - episode.goal, axis=1)))
    return statistics.median(found)


def normalization(model: WorldModel) -> Normalization:
    """The model's statistics."""
    assert model.spec.normalization is not None
    return model.spec.normalization


def receding_horizon(model: WorldModel, planning: Planning, proprio_weight: float) -> Policy:
    """Plan, execute the first steps, look again; no step looks at the true distance."""

    def policy(episode: Episode, rng: np.random.Generator) -> Floats:
        goal = observe(episode.goal, episode.layout)
        *_, last = drive(
            episode, planning, normalization(model), lambda now: scorer(model, now, goal, proprio_weight), rng
        )
        end: Floats = last.path[-1]
        return end

    return policy


def random_shooting(model: WorldModel, samples: int, proprio_weight: float) -> Policy:
    """The best of `samples` random plans of `SHOOTING_HORIZON` steps, executed to its end."""

    def policy(episode: Episode, rng: np.random.Generator) -> Floats:
        now, goal = (observe(position, episode.layout) for position in (episode.start, episode.goal))
        plans = sample_plans(rng, samples, SHOOTING_HORIZON)
        best = np.argmin(scorer(model, now, goal, proprio_weight)(plans[None]))
        end: Floats = walk(episode, episode.start, to_raw(plans[[best]], normalization(model)))[0, -1]
        return end

    return policy


def random_actions(model: WorldModel, steps: int) -> Policy:
    """`steps` random packed actions."""

    def policy(episode: Episode, rng: np.random.Generator) -> Floats:
        plan = sample_plans(rng, 1, steps)
        end: Floats = walk(episode, episode.start, to_raw(plan, normalization(model)))[0, -1]
        return end

    return policy


def reached(policy: Policy, crossing: bool, seed: int, episodes: int) -> int:
    """Count the `episodes` that end within 4 px of the goal; the same episodes for every policy."""
    rng = np.random.default_rng(seed + 1)
    count = 0
    with Progress("through the door" if crossing else "same room", episodes) as bar:
        for index in range(episodes):
            episode = sample_episode(rng, crossing)
            end = policy(episode, np.random.default_rng((seed, index)))
            count += bool(np.linalg.norm(end - episode.goal) < REACHED)
            bar.show(note=f"{count} reached")
    return count


def count_reached(
    make_policy: Callable[[WorldModel], Policy], weights: Path, crossing: bool, seed: int, episodes: int
) -> int:
    """`reached` in a process of its own."""
    torch.set_num_threads(1)
    return reached(make_policy(load(weights)), crossing, seed, episodes)


def load(weights: Path) -> WorldModel:
    """The model to measure."""
    return tiny.load("cpu", "tiny", weights)


def evaluate(weights: Path, planning: Planning, seed: int, episodes: int, processes: int) -> str:
    """Everything, as markdown."""
    model = load(weights)
    lines = ["| median rank correlation of score and true final distance | H = 4 | H = 6 |", "| --- | --- | --- |"]
    for weight in WEIGHTS:
        cells = [f"{median_correlation(model, horizon, weight, seed):.3f}" for horizon in HORIZONS]
        lines.append(f"| proprio weight {weight:g} | {' | '.join(cells)} |")
    lines += ["", f"| of {episodes} episodes, ended within {REACHED:g} px of the goal | same room | through the door |"]
    lines.append("| --- | --- | --- |")
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        rows = {
            name: [pool.submit(count_reached, make, weights, crossing, seed, episodes) for crossing in (False, True)]
            for name, make in policies(planning).items()
        }
        for name, counts in rows.items():
            lines.append(f"| {name} | {' | '.join(str(count.result()) for count in counts)} |")
    return "\n".join(lines)


def policies(planning: Planning) -> dict[str, Callable[[WorldModel], Policy]]:
    """Return the compared policies by name: each makes a policy of a model."""
    steps = sum(executed for _, executed in planning.schedule)
    draws = planning.samples * planning.iterations
    made: dict[str, Callable[[WorldModel], Policy]] = {
        f"random actions, {steps} steps": partial(random_actions, steps=steps)
    }
    for weight in WEIGHTS:
        name = f"best of {draws} random plans, H = {SHOOTING_HORIZON}, proprio weight {weight:g}"
        made[name] = partial(random_shooting, samples=draws, proprio_weight=weight)
    for weight in WEIGHTS:
        made[f"**CEM, proprio weight {weight:g}**"] = partial(
            receding_horizon, planning=planning, proprio_weight=weight
        )
    return made


def describe(planning: Planning, seed: int, episodes: int) -> str:
    """Return the measured results in words."""
    schedule = ", ".join(f"{horizon}:{steps}" for horizon, steps in planning.schedule)
    return (
        f"`python -m examples.two_room.training.evaluate --seed {seed} --episodes {episodes}`, on layouts, starts and "
        f"goals never trained on. Rank correlation: {CANDIDATES} random candidates in each of {SCENES} scenes. CEM: "
        f"{planning.samples} samples, {planning.iterations} iterations, {planning.elites} elites, horizon:steps "
        f"executed {schedule}; the true position is looked at only when the last step is done."
    )


def main() -> None:
    """The command: print the tables, and write them into the model card if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--weights", type=Path, default=tiny.WEIGHTS)
    parser.add_argument("--write-card", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    planning = Planning()
    found = evaluate(options.weights, planning, options.seed, options.episodes, options.processes)
    text = f"{describe(planning, options.seed, options.episodes)}\n\n{found}"
    print(text)
    if options.write_card:
        write_evaluation(options.weights, text)


if __name__ == "__main__":
    sys.exit(exit_code("evaluate", main))
