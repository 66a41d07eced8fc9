"""Plan through gRPC: `python -m examples.two_room.demo` starts a server, then reaches goals through it.

The server is a process of its own and runs the embedded model; this one holds the planner, needs no torch, and sees
nothing but scores. Without a target it starts the server by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from tqdm import tqdm

from examples.two_room.control import Planning, Segment, drive, pack
from examples.two_room.env import REACHED, Episode, Observation, observe, sample_episode
from worldforge_jepa_client import Client, ModelSpec
from worldforge_jepa_client.planning import Score

mpl.use("Agg")
from matplotlib import pyplot as plt


@dataclass
class Latencies:
    """Seconds of every call, and how many candidates were scored in them."""

    seconds: list[float] = field(default_factory=list)
    candidates: int = 0

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
        model = client.model()
        print(f"{model.name}: {model.parameter_count:,} parameters on {model.device}, at {target}")
        print(f"torch in this process: {'yes' if 'torch' in sys.modules else 'no'}")
        latencies = Latencies()
        outcomes = list(run(client, model, arguments.episodes, arguments.seed, latencies))
    reached = sum(outcome.distance < REACHED for outcome in outcomes)
    print(f"reached {reached} of {len(outcomes)} goals through the door, within {REACHED:g} px")
    print(latencies.summary())
    draw(outcomes, arguments.picture)
    print(f"picture: {arguments.picture}")
    return 0 if 2 * reached > len(outcomes) else 1


@contextlib.contextmanager
def running_server() -> Iterator[str]:
    """Start a server process on a free port; yield its address, and stop it at the end."""
    command = [sys.executable, "-m", "worldforge_jepa_server", "--listen", "127.0.0.1:0", "--log-level", "warning"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if not ready:
                raise SystemExit("the server did not start; see its message above")
            yield ready.removeprefix("serving on ").strip()
        finally:
            process.terminate()


def run(client: Client, model: ModelSpec, episodes: int, seed: int, latencies: Latencies) -> Iterator[Outcome]:
    """Plan through the door in `episodes` layouts that the model was not trained on."""
    assert model.normalization is not None
    planning, rng = Planning(), np.random.default_rng(seed)
    with tqdm(total=episodes * len(planning.schedule), desc="planning", unit="plan") as bar:
        for _ in range(episodes):
            episode = sample_episode(rng, crossing=True)
            segments = []
            scorer = _Scorer(client, observe(episode.goal, episode.layout), latencies)
            for segment in drive(episode, planning, model.normalization, scorer, rng):
                segments.append(segment)
                bar.update()
                bar.set_postfix_str(f"{np.linalg.norm(segment.path[-1] - episode.goal):.1f} px to go")
            yield Outcome(episode, segments)


class _Scorer:
    """Scores plans through the client, for one goal, and keeps the time."""

    def __init__(self, client: Client, goal: Observation, latencies: Latencies) -> None:
        self._client, self._goal, self._latencies = client, _as_input(goal), latencies

    def __call__(self, now: Observation) -> Score:
        observation = _as_input(now)

        def score(plans: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            began = time.perf_counter()
            result = self._client.score(observation=observation, goal=self._goal, action_candidates=pack(plans))
            self._latencies.seconds.append(time.perf_counter() - began)
            self._latencies.candidates += result.scores.size
            return result.scores

        return score


def _as_input(observation: Observation) -> dict[str, npt.NDArray[np.generic]]:
    return {"visual": observation["image"], "proprio": observation["proprio"]}


def draw(outcomes: list[Outcome], path: Path) -> None:
    """One column an episode: the room with start, goal and trajectory above, the best score of each plan below."""
    figure, axes = plt.subplots(
        2, len(outcomes), figsize=(2.6 * len(outcomes), 4.2), squeeze=False, height_ratios=(3, 1.4)
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
    axes.imshow(np.moveaxis(observe(episode.start, episode.layout)["image"], 0, -1), extent=(0, 64, 64, 0))
    path = np.concatenate([segment.path for segment in outcome.segments])
    axes.plot(*path.T, color="#1f5fbf", linewidth=1.6, marker=".", markersize=4, label="path")
    axes.add_patch(Circle(tuple(episode.goal), REACHED, fill=False, color="#1a8f3c", linewidth=1.6))
    axes.set_title(f"{outcome.distance:.1f} px from the goal", fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


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
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, default=Path("build/demo.png"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
