"""Score candidates once: of noise that fits the model, or the arrays of a file.

The arrays have the names that WorldForge's `info` gives them: observation, goal, action_candidates, and where the model
takes them observation_proprio, goal_proprio and action_history.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from worldforge_jepa_client.contract.types import ScoreResult
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.inputs.synthetic import Arrays, scene_of, synthetic_arrays
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.sync.client import Client
from worldforge_jepa_client.tools import connection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser)
    inputs = parser.add_mutually_exclusive_group(required=True)
    inputs.add_argument("--random", action="store_true", help="score noise that fits the model")
    inputs.add_argument("--npz", type=Path, metavar="FILE", help="score the arrays of a file")
    parser.add_argument("--model", default="", help="a served model's name (default: the server's default one)")
    parser.add_argument("--samples", type=int, default=32, help="candidates of noise (default: 32)")
    parser.add_argument("--horizon", type=int, default=4, help="actions of such a candidate (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON, with the score of each candidate")


def run(arguments: argparse.Namespace) -> int:
    """Print the best candidate and the time on the server, and return 0."""
    with connection.connect(arguments) as client:
        arrays = _read(arguments.npz) if arguments.npz else _noise(client, arguments)
        scene, candidates = scene_of(arrays), arrays["action_candidates"]
        result = client.score(**vars(scene), action_candidates=candidates, model=arguments.model)
    figures = _figures(result)
    print(json.dumps(figures) if arguments.json else _line(figures))
    return 0


def _noise(client: Client, arguments: argparse.Namespace) -> Arrays:
    spec = client.model(arguments.model)
    return synthetic_arrays(spec, samples=arguments.samples, horizon=arguments.horizon, seed=arguments.seed)


def _read(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except ValueError as error:
        raise invalid("npz", f"{path} is no npz file of arrays", Reason.INVALID_TYPE) from error
    for name in ("observation", "goal", "action_candidates"):
        if name not in arrays:
            raise invalid(name, f"is missing in {path}", Reason.MISSING_FIELD)
    return arrays


def _figures(result: ScoreResult) -> dict[str, Any]:
    return {
        "scores": [float(score) for score in result.scores],
        "lower_is_better": result.lower_is_better,
        "best_index": result.best_index,
        "total_ms": result.timing.total_us / 1000,
    }


def _line(figures: dict[str, Any]) -> str:
    scores, best = figures["scores"], figures["best_index"]
    better = "lower" if figures["lower_is_better"] else "higher"
    return (
        f"best candidate {best} of {len(scores)}, score {scores[best]:.6g} ({better} is better), "
        f"{figures['total_ms']:.1f} ms on the server"
    )
