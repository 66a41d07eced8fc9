"""Write episode logs of the held-out layouts: `python -m examples.two_room.logs DIR`.

One npz file an episode, as `worldforge-jepa diagnose --episodes npz:DIR` reads them. Letters: T raw steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from examples.two_room.data import sample_actions, sample_starts
from examples.two_room.env import FRAMESKIP, layouts, render_batch, step_batch


def log_episodes(episodes: int, steps: int, seed: int) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yield episodes of random drifts in layouts never trained on.

    Args:
        episodes: how many.
        steps: T, raw steps of each; a multiple of the frameskip, 5.
        seed: of all randomness.

    Yields:
        `frames` uint8 (T + 1, 3, 64, 64), raw `actions` float32 (T, 2) and `proprio` float32 (T + 1, 2), in px.
    """
    rng = np.random.default_rng(seed)
    choices = np.array(layouts(held_out=True))
    for _ in range(episodes):
        layout = choices[rng.integers(len(choices), size=1)]
        actions = sample_actions(rng, 1, steps // FRAMESKIP).reshape(steps, 2)
        path = [sample_starts(rng, layout, near_door=0.3)]
        for action in actions:
            path.append(step_batch(path[-1], action[None], layout))
        positions = np.concatenate(path)
        frames = render_batch(positions, np.broadcast_to(layout, positions.shape))
        yield {"frames": frames, "actions": actions, "proprio": positions}


def write_logs(folder: Path, episodes: int, steps: int, seed: int) -> None:
    """Write each episode of `log_episodes` to a file of its own in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, episode in enumerate(log_episodes(episodes, steps, seed)):
        np.savez_compressed(folder / f"episode_{index:03}.npz", allow_pickle=False, **episode)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser("examples.two_room.logs", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--steps", type=int, default=75, help="raw steps of an episode (default: 75)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_logs(options.folder, options.episodes, options.steps, options.seed)


if __name__ == "__main__":
    main()
