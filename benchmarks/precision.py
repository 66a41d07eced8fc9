"""What a precision costs and gains: `python -m benchmarks.precision [--model NAME=SOURCE[,key=value...]]`.

Scores the same candidates in float32, bfloat16 and float16, and with --compile compiled too, interleaved in one run.
Prints for each the median time, the speed against float32 round by round, and how far its scores are from float32's.
Without --model: native jepa_wm_pusht in its full size with random weights, beside its equations written out plainly,
as the tests hold it to. Frames and candidates are noise: how a precision ranks real ones is for real ones to show.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.harness import Seconds, interleave, keeping
from benchmarks.limits import random_model
from tests import reference
from worldforge_jepa_client.spec import FREE
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.device import use_threads
from worldforge_jepa_server.models.contract import Latents, Observation, SelfScoringModel, WorldModel
from worldforge_jepa_server.models.execution import Execution
from worldforge_jepa_server.models.native import NativeModel
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.scoring import distance

PRECISIONS = ("float32", "bfloat16", "float16")
PUSHT = "jepa_wm_pusht"

Scores = npt.NDArray[np.float32]


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    use_threads(arguments.threads)
    ways = _ways(arguments)
    scores: dict[str, list[Scores]] = {name: [] for name in ways}
    seconds = interleave({name: keeping(scores[name], way) for name, way in ways.items()}, arguments.seconds)
    _print(seconds, {name: each[0] for name, each in scores.items()}, arguments)


def _ways(arguments: argparse.Namespace) -> dict[str, Callable[[], Scores]]:
    variants = [{"precision": precision, "compile": "false"} for precision in PRECISIONS]
    if arguments.compile:
        variants += [variant | {"compile": "true"} for variant in variants]
    ways: dict[str, Callable[[], Scores]] = {
        _name(options): partial(_score, _load(arguments, options), arguments) for options in variants
    }
    if arguments.model is None:
        ways["equations"] = partial(_score_by_equations, _synthetic({}), arguments)
    return ways


def _name(options: dict[str, str]) -> str:
    return options["precision"] + (" compiled" if options["compile"] == "true" else "")


def _load(arguments: argparse.Namespace, options: dict[str, str]) -> WorldModel:
    source: ModelSource | None = arguments.model
    if source is None:
        return _synthetic(options)
    model = load_model(replace(source, options=source.options | options), arguments.device)
    if isinstance(model, SelfScoringModel):
        raise SystemExit(f"{source.name} scores by itself: it chooses its own precision")
    return model


def _synthetic(options: dict[str, str]) -> NativeModel:
    torch.manual_seed(0)
    return random_model(PUSHT, Execution.parse(options, "cpu"))


def _score(model: WorldModel, arguments: argparse.Namespace) -> Scores:
    now, goal, actions = _inputs(model, arguments)
    *_, last = model.unroll(now, actions, None)
    return _distance(model, last, goal)


def _score_by_equations(model: NativeModel, arguments: argparse.Namespace) -> Scores:
    now, goal, actions = _inputs(model, arguments)
    return _distance(model, reference.rollout(model.module, now, actions), goal)


def _distance(model: WorldModel, last: Latents, goal: Latents) -> Scores:
    scores: Scores = distance(last, goal, model.spec.objective, model.spec.proprio_weight).cpu().numpy()
    return scores


def _inputs(model: WorldModel, arguments: argparse.Namespace) -> tuple[Latents, Latents, Tensor]:
    spec, generator = model.spec, torch.Generator().manual_seed(0)
    sizes = [224 if size == FREE else size for size in spec.visual.shape[3:]]
    frames = torch.randint(0, 256, (2, 1, 1, 3, *sizes), dtype=torch.uint8, generator=generator)
    proprio = torch.randn(2, 1, 1, spec.proprio_dim, generator=generator)
    if spec.normalization is not None:
        proprio = proprio * torch.tensor(spec.normalization.proprio_std) + torch.tensor(spec.normalization.proprio_mean)
    now, goal = (
        model.encode(Observation(frame.to(spec.device), pose.to(spec.device) if spec.proprio else None))
        for frame, pose in zip(frames, proprio, strict=True)
    )
    actions = torch.randn(arguments.horizon, arguments.samples, spec.action_dim, generator=generator)
    return now, goal, actions.to(spec.device)


def _print(seconds: dict[str, Seconds], scores: dict[str, Scores], arguments: argparse.Namespace) -> None:
    exact, base = scores["float32"], seconds["float32"]
    name = arguments.model.name if arguments.model else f"{PUSHT}, random weights"
    print(
        f"{name}: {arguments.samples} candidates, horizon {arguments.horizon}, {arguments.threads} threads, "
        f"{len(base)} rounds; scores {exact.mean():.4g} +- {exact.std():.2g}"
    )
    print(f"{'':18}{'median s':>10}{'x float32':>11}{'largest difference':>20}{'Spearman':>10}{'same best':>11}")
    for way, values in seconds.items():
        difference, same = np.abs(scores[way] - exact).max(), scores[way].argmin() == exact.argmin()
        print(
            f"{way:18}{np.median(values):10.3f}{np.median(base / values):11.2f}{difference:20.2e}"
            f"{_rank_correlation(scores[way], exact):10.4f}{'yes' if same else 'NO':>11}"
        )


def _rank_correlation(one: Scores, other: Scores) -> float:
    return float(np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=ModelSource.parse, help="as the server takes it, without precision and compile")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="also compiled, which takes a while")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--horizon", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=120, help="for at least two rounds (default: 120)")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
