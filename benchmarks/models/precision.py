"""(g) Speed and accuracy of a precision: `python -m benchmarks.models.precision [--model NAME=SOURCE[,key=value...]]`.

Scores the same candidates in float32, bfloat16 and float16, and with --compile compiled too, interleaved in one run.
Shows for each the median time, the speed against float32 round by round, and how far its scores are from float32's.
With --spread candidates are near to one another, as in a planner's late iterations. With --emulate linear layers
multiply 16-bit weights in float32 and round the result, for CPUs without the instructions: the same products, in
another order.
Without --model: native jepa_wm_pusht in its full size with random weights, beside its equations written out plainly,
as the tests hold it to, and upstream's own code where `JEPA_WMS_HUB_REPO` names a checkout of it. Frames and candidates
are noise: how a precision ranks real ones is for real ones to show.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Seconds, interleave, keeping, median
from benchmarks.models import reference
from benchmarks.models.limits import random_model
from benchmarks.report import Cell, Table, Target, text
from worldforge_jepa_client.contract.spec import DYNAMIC
from worldforge_jepa_server.app.system import tune_malloc
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.device.clock import use_threads
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.models.contract import Latents, Observation, ScoringModel, WorldModel
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.precision import Execution
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.tools.parity import rank_correlation

SECONDS = 40
PRECISIONS = ("float32", "bfloat16", "float16")
PUSHT = "jepa_wm_pusht"

EQUATIONS, UPSTREAM_CODE = "equations", "upstream's code"

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """The model to score with, and its device; the synthetic model by default. `chunk` candidates go at a time."""

    model: ModelSource | None = None
    device: str = "cpu"
    compile: bool = False
    samples: int = 8
    horizon: int = 6
    threads: int = 2
    spread: float | None = None
    emulate: bool = False
    chunk: int = 8


def main() -> None:
    """Measure and print."""
    setting, seconds = _arguments()
    print(text(_measured(setting, PRECISIONS, seconds)))


def measure(effort: float) -> Table:
    """The synthetic model; without float16, which the targets do not ask for."""
    return _measured(Setting(), PRECISIONS[:2], SECONDS * effort)


def _measured(setting: Setting, precisions: Sequence[str], seconds: float) -> Table:
    use_threads(setting.threads)
    tune_malloc()  # as a server does
    variants = _variants(setting, precisions)
    scores: dict[str, list[Scores]] = {name: [] for name in variants}
    kept = {name: keeping(scores[name], variant) for name, variant in variants.items()}
    # A round takes a minute: what has nothing to compile counts from the first.
    taken = interleave(kept, seconds, warm_up=setting.compile)
    return _table(taken, {name: each[0] for name, each in scores.items()}, setting)


def _variants(setting: Setting, precisions: Sequence[str]) -> dict[str, Callable[[], Scores]]:
    settings = [{"precision": precision, "compile": "false"} for precision in precisions]
    if setting.compile:
        settings += [options | {"compile": "true"} for options in settings]
    variants = {_name(options): scoring(_load(setting, options), setting) for options in settings}
    if setting.model is None:
        variants[EQUATIONS] = _scoring_by_equations(synthetic({}), setting)
        if repo := os.environ.get("JEPA_WMS_HUB_REPO"):
            source = ModelSource("upstream", f"hub:{PUSHT}", {"repo": repo, "pretrained": "false"})
            variants[UPSTREAM_CODE] = scoring(_load(replace(setting, model=source), {}), setting)
    return variants


def _name(options: dict[str, str]) -> str:
    return options["precision"] + (" compiled" if options["compile"] == "true" else "")


def _load(setting: Setting, options: dict[str, str]) -> WorldModel:
    source = setting.model
    if source is None:
        return synthetic(options)
    model = load_model(replace(source, options=source.options | options), setting.device)
    if isinstance(model, ScoringModel):
        raise SystemExit(f"{source.name} scores by itself: it chooses its own precision")
    return model


def synthetic(options: dict[str, str]) -> NativeModel:
    """Return jepa_wm_pusht in full size with random weights, by `precision` and `compile`."""
    torch.manual_seed(0)
    return random_model(PUSHT, Execution.parse(options, "cpu"))


def scoring(model: WorldModel, setting: Setting) -> Callable[[], Scores]:
    """Return a function that scores the setting's candidates; the scene is encoded before."""
    now, goal, actions = _inputs(model, setting)

    def score() -> Scores:
        chunks = []
        with _wide_products() if setting.emulate else contextlib.nullcontext():
            for chunk in actions.split(setting.chunk, dim=1):
                *_, last = model.unroll(now, chunk, None)
                chunks.append(_distance(model, last, goal))
        return np.concatenate(chunks)

    return score


@contextlib.contextmanager
def _wide_products() -> Iterator[None]:
    """Multiply in float32 whatever the dtype of a linear layer, and round the result to it."""

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return plain(x.float(), weight.float(), None if bias is None else bias.float()).to(x.dtype)

    plain = F.linear
    with mock.patch.object(F, "linear", linear):
        yield


def _scoring_by_equations(model: NativeModel, setting: Setting) -> Callable[[], Scores]:
    now, goal, actions = _inputs(model, setting)
    return lambda: _distance(model, reference.rollout(model.module, now, actions), goal)


def _distance(model: WorldModel, last: Latents, goal: Latents) -> Scores:
    scores: Scores = distance(last, goal, model.spec.objective, model.spec.proprio_weight).cpu().numpy()
    return scores


def _inputs(model: WorldModel, setting: Setting) -> tuple[Latents, Latents, Tensor]:
    spec, generator = model.spec, torch.Generator().manual_seed(0)
    sizes = [224 if size == DYNAMIC else size for size in spec.visual.shape[3:]]
    frames = torch.randint(0, 256, (2, 1, 1, 3, *sizes), dtype=torch.uint8, generator=generator)
    proprio = torch.randn(2, 1, 1, spec.proprio_dim, generator=generator)
    if spec.normalization is not None:
        proprio = proprio * torch.tensor(spec.normalization.proprio_std) + torch.tensor(spec.normalization.proprio_mean)
    now, goal = (
        model.encode(Observation(frame.to(spec.device), pose.to(spec.device) if spec.proprio else None))
        for frame, pose in zip(frames, proprio, strict=True)
    )
    actions = torch.randn(setting.horizon, setting.samples, spec.action_dim, generator=generator)
    if setting.spread is not None:
        actions = actions[:, :1] + setting.spread * actions
    return now, goal, actions.to(spec.device)


def cpu_name() -> str:
    """Return the name of the CPU, and the instructions that torch uses of it."""
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return f"{found.get('cpu_name') or platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def _table(seconds: dict[str, Seconds], scores: dict[str, Scores], setting: Setting) -> Table:
    exact, base = scores["float32"], seconds["float32"]
    name = setting.model.name if setting.model else f"{PUSHT} with random weights"
    rows = [
        (
            variant,
            median(taken),
            median(base / taken),
            *(("-", "-", "-") if variant == UPSTREAM_CODE else compared(scores[variant], exact)),  # of other weights
        )
        for variant, taken in seconds.items()
    ]

    def draw(axes: Axes) -> None:
        axes.barh([row[0] for row in rows], [row[1] for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel("median s")

    return Table(
        "precision",
        f"{name}: {setting.samples} candidates, horizon {setting.horizon}, {setting.threads} threads, on "
        f"{cpu_name() if setting.device == 'cpu' else setting.device}; scores {exact.mean():.4g} +- {exact.std():.2g}",
        ("", "median s", "x float32", "largest difference", "Spearman", "same best"),
        rows,
        draw,
        _targets(seconds, scores) if EQUATIONS in seconds else (),
    )


def compared(scores: Scores, exact: Scores) -> tuple[Cell, Cell, Cell]:
    """Return scores beside float32's: largest difference, rank correlation, and whether the best is the same."""
    same = scores.argmin() == exact.argmin()
    return f"{np.abs(scores - exact).max():.2e}", f"{rank_correlation(scores, exact):.4f}", "yes" if same else "NO"


def _targets(seconds: dict[str, Seconds], scores: dict[str, Scores]) -> list[Target]:
    def speed(variant: str) -> float:
        return median(seconds[EQUATIONS] / seconds[variant])

    correlation = rank_correlation(scores["bfloat16"], scores["float32"])
    return [
        Target("float32, in times of the equations' speed", speed("float32"), 1.15, at_least=True),
        Target("bfloat16, in times of the equations' speed", speed("bfloat16"), 2.5, at_least=True),
        Target("rank correlation of bfloat16's scores and float32's", correlation, 0.999, at_least=True),
    ]


def _arguments() -> tuple[Setting, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=ModelSource.parse, help="as the server takes it, without precision and compile")
    parser.add_argument("--device", default=Setting.device)
    parser.add_argument("--compile", action="store_true", help="also compiled, which takes a while")
    parser.add_argument("--samples", type=int, default=Setting.samples)
    parser.add_argument("--horizon", type=int, default=Setting.horizon)
    parser.add_argument("--threads", type=int, default=Setting.threads)
    parser.add_argument("--spread", type=float, help="standard deviation of the candidates around one of them")
    parser.add_argument("--emulate", action="store_true", help="16-bit products in float32; times mean nothing then")
    parser.add_argument("--seconds", type=float, default=120, help="for at least two rounds (default: 120)")
    arguments = vars(parser.parse_args())
    seconds = arguments.pop("seconds")
    return Setting(**arguments), seconds


if __name__ == "__main__":
    main()
