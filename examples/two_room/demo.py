"""Plan through gRPC: `python -m examples.two_room.demo` starts a server, then reaches goals through it.

The server is a process of its own and runs the embedded model; this one holds the planner, needs no torch, and sees
nothing but scores: each scene goes to the server once, over a session. With `--planner server` the server plans too,
and this process sees nothing but plans. Without a target the demo starts the server by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from examples.two_room.control import INITIAL_STD, Planning, Segment, drive, pack, to_raw
from examples.two_room.env import FRAMESKIP, REACHED, SIZE, Episode, Observation, observe, roll_batch, sample_episode
from worldforge_jepa_client import Client, ModelSpec, Session
from worldforge_jepa_client.actions import ActionMapping
from worldforge_jepa_client.planning import Score, shift_plan
from worldforge_jepa_client.tools.exit_code import exit_code
from worldforge_jepa_client.tools.local_server import running_server
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_client.viz import PlanView

mpl.use("Agg")
from matplotlib import pyplot as plt

Input = dict[str, npt.NDArray[np.generic]]
"""An observation under the names that the client takes."""

_SERVER_SAMPLES, _SERVER_ITERATIONS = 256, 12
"""The server's planner varies every raw action by itself, so it needs more than ours, which holds one move."""


@dataclass
class Latencies:
    """Seconds of every call, and how many candidates were scored in them."""

    seconds: list[float] = field(default_factory=list)
    candidates: int = 0

    @contextlib.contextmanager
    def call(self, candidates: int) -> Iterator[None]:
        """Time one call that scores this many candidates."""
        began = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - began)
        self.candidates += candidates

    def summary(self) -> str:
        """One line: median, 95th percentile, and candidates per second of waiting."""
        median, late = np.percentile(self.seconds, [50, 95]) * 1e3
        rate = self.candidates / sum(self.seconds)
        return f"{len(self.seconds)} calls, median {median:.1f} ms, p95 {late:.1f} ms, {rate:,.0f} candidates/s"


@dataclass(frozen=True)
class Outcome:
    """An episode and what planning made of it."""

    episode: Episode
    segments: list[Segment]

    @property
    def distance(self) -> float:
        """Of the last position to the goal, px."""
        return float(np.linalg.norm(self.segments[-1].path[-1] - self.episode.goal))


def main() -> int:
    """Run the demo; return 0 if most goals were reached."""
    arguments = _arguments()
    with contextlib.ExitStack() as stack:
        target = arguments.target or stack.enter_context(running_server())
        client = stack.enter_context(Client(target, timeout=30))
        client.wait_ready()
        view = PlanView(spawn=arguments.rerun, save=arguments.rerun_save, connect=arguments.rerun_connect)
        stack.enter_context(view)
        model = client.model()
        print(f"{model.name}: {model.parameter_count:,} parameters on {model.device}, at {target}")
        print(f"torch in this process: {'yes' if 'torch' in sys.modules else 'no'}")
        latencies = Latencies()
        outcomes = list(run(client, model, arguments, latencies, view))
    reached = sum(outcome.distance < REACHED for outcome in outcomes)
    print(f"reached {reached} of {len(outcomes)} goals through the door, within {REACHED:g} px")
    draw(outcomes, arguments.picture)
    print(f"{latencies.summary()}\npicture: {arguments.picture}")
    return 0 if 2 * reached > len(outcomes) else 1


def run(
    client: Client, model: ModelSpec, arguments: argparse.Namespace, latencies: Latencies, view: PlanView
) -> Iterator[Outcome]:
    """Plan through the door in layouts that the model was not trained on."""
    planning, rng = Planning(), np.random.default_rng(arguments.seed)
    way = server_plans if arguments.planner == "server" else local_plans
    with Progress("plans", arguments.episodes * len(planning.schedule)) as bar:
        for _ in range(arguments.episodes):
            episode = sample_episode(rng, crossing=True)
            segments = []
            for segment in way(client, model, episode, planning, rng, latencies, view):
                segments.append(segment)
                bar.show(note=f"{np.linalg.norm(segment.path[-1] - episode.goal):.1f} px to go")
            yield Outcome(episode, segments)


def local_plans(
    client: Client,
    model: ModelSpec,
    episode: Episode,
    planning: Planning,
    rng: np.random.Generator,
    latencies: Latencies,
    view: PlanView,
) -> Iterator[Segment]:
    """Plan in this process; a session holds the scene on the server."""
    assert model.normalization is not None
    now, goal = (_as_input(observe(position, episode.layout)) for position in (episode.start, episode.goal))
    with client.session(observation=now, goal=goal) as session:
        yield from drive(
            episode,
            planning,
            model.normalization,
            partial(_scores, session, latencies, view, goal, ActionMapping(model)),
            rng,
        )


def _scores(
    session: Session, latencies: Latencies, view: PlanView, goal: Input, mapping: ActionMapping, now: Observation
) -> Score:
    """Score plans [1, S, H, 2] from what the agent sees now."""
    session.observe(_as_input(now))
    view.scene(now["image"], goal["visual"])

    def score(plans: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with latencies.call(plans.shape[1]):
            result = session.score(pack(plans))
        view.iteration(plans, result, paths=mapping.paths(pack(plans), now["proprio"], SIZE))
        return result.costs

    return score


def server_plans(
    client: Client,
    model: ModelSpec,
    episode: Episode,
    planning: Planning,
    rng: np.random.Generator,
    latencies: Latencies,
    view: PlanView,
) -> Iterator[Segment]:
    """Plan on the server, on the same schedule."""
    assert model.normalization is not None
    goal, position, left = _as_input(observe(episode.goal, episode.layout)), episode.start, None
    for horizon, steps in planning.schedule:
        with latencies.call(_SERVER_SAMPLES * _SERVER_ITERATIONS):
            progress = list(
                client.plan(
                    observation=_as_input(observe(position, episode.layout)),
                    goal=goal,
                    method="icem",
                    horizon=horizon,
                    samples=_SERVER_SAMPLES,
                    iterations=_SERVER_ITERATIONS,
                    initial_std=INITIAL_STD,
                    initial_mean=None if left is None else shift_plan(left, 0, horizon),
                    keep_best=True,
                    seed=int(rng.integers(2**31)),
                )
            )
        view.scene(observe(position, episode.layout)["image"], goal["visual"])
        for step in progress:
            view.progress(step)
        actions = progress[-1].best_actions
        moves = actions[:steps].reshape(steps, FRAMESKIP, 2)
        raw = to_raw(moves, model.normalization).reshape(1, steps, -1)
        path = roll_batch(position[None], raw, np.array([episode.layout]))[0]
        position, left = path[-1], actions[steps:] if steps < horizon else None
        yield Segment(path, tuple(step.best_score for step in progress))


def _as_input(observation: Observation) -> Input:
    return {"visual": observation["image"], "proprio": observation["proprio"]}


def draw(outcomes: list[Outcome], path: Path) -> None:
    """One column an episode: the room with start, goal and trajectory above, the best score of each plan below."""
    figure, axes = plt.subplots(
        2, len(outcomes), figsize=(2.6 * len(outcomes), 4.2), squeeze=False, height_ratios=(3, 1.4), sharey="row"
    )
    for outcome, (room, curve) in zip(outcomes, axes.T, strict=True):
        _draw_room(room, outcome)
        _draw_scores(curve, outcome)
    axes[0, 0].set_ylabel("held-out room")
    axes[1, 0].set_ylabel("best score")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_room(axes: Axes, outcome: Outcome) -> None:
    episode = outcome.episode
    axes.imshow(np.moveaxis(observe(episode.start, episode.layout)["image"], 0, -1), extent=(0, SIZE, SIZE, 0))
    path = np.concatenate([segment.path for segment in outcome.segments])
    axes.plot(*path.T, color="#1f5fbf", linewidth=1.6, marker=".", markersize=4, label="path")
    axes.add_patch(Circle(tuple(episode.goal), REACHED, fill=False, color="#1a8f3c", linewidth=1.6))
    axes.set_title(f"{outcome.distance:.1f} px from the goal", fontsize=9)
    axes.set(xticks=[], yticks=[], xlim=(0, SIZE), ylim=(SIZE, 0))


def _draw_scores(axes: Axes, outcome: Outcome) -> None:
    first = 0
    for segment in outcome.segments:
        steps = np.arange(first, first + len(segment.best_scores))
        axes.plot(steps, segment.best_scores, linewidth=1.4)
        first = steps[-1] + 1
    axes.set_yscale("log")
    axes.set_xlabel("iteration", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("examples.two_room.demo", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--target", help="a running server; without one the demo starts its own")
    parser.add_argument("--planner", choices=("local", "server"), default="local")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=2, help="of episodes and planning (default: 2)")
    parser.add_argument("--picture", type=Path, default=Path("build/demo.png"))
    parser.add_argument("--rerun", action="store_true", help="show the plans in a Rerun viewer, started here")
    parser.add_argument("--rerun-save", type=Path, metavar="FILE.rrd", help="record the plans for a Rerun viewer")
    parser.add_argument("--rerun-connect", metavar="URL", help="show the plans in a running Rerun viewer")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_code("demo", main))
