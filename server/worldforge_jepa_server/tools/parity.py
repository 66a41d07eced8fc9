"""Compare the scores of a server with those of the same model in this process, on the same candidates of noise.

Exits with 1 where they differ by more than the tolerance, or choose different candidates.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.spec import ModelSpec, Objective
from worldforge_jepa_client.errors import FailedPreconditionError
from worldforge_jepa_client.inputs.synthetic import scene_of, synthetic_arrays
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_server.config import ModelSource

if TYPE_CHECKING:
    from worldforge_jepa_server.models.contract import ServedModel


@dataclass(frozen=True)
class Parity:
    """Compare scores of the same S >= 2 candidates, float32 [S]: `served` by a server, and `local`.

    `same_best` says whether the best of both is the same candidate; which way is better, their model says.
    """

    served: NDArray[np.float32]
    local: NDArray[np.float32]
    same_best: bool

    @property
    def max_difference(self) -> float:
        """The largest absolute difference."""
        return float(np.abs(self.served - self.local).max())

    @property
    def relative_difference(self) -> float:
        """The same as a share of the largest absolute local score."""
        return self.max_difference / (float(np.abs(self.local).max()) or 1.0)

    @property
    def rank_correlation(self) -> float:
        """Spearman's: 1 where both rank the candidates alike."""
        return rank_correlation(self.served, self.local)

    def figures(self) -> dict[str, float | bool]:
        """Return the measures as JSON."""
        names = ("max_difference", "relative_difference", "rank_correlation", "same_best")
        return {name: getattr(self, name) for name in names}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser, timeout=60.0)
    parser.add_argument(
        "--model", type=ModelSource.parse, required=True, metavar="NAME=SOURCE[,key=value...]", help="as the server got"
    )
    parser.add_argument("--device", default="cpu", help="torch device of the model here (default: cpu)")
    parser.add_argument("--objective", choices=[item.value for item in Objective], help="default: the model's")
    parser.add_argument("--samples", type=_at_least_two, default=32, help="candidates (default: 32)")
    parser.add_argument("--horizon", type=int, default=4, help="actions of a candidate (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic inputs (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="relative difference allowed (default: 1e-5)")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print, and return 0 if the scores agree."""
    from worldforge_jepa_server.models.registry import ModelLoadError, load_model

    try:
        with Progress("loading"):
            model = load_model(arguments.model, arguments.device)
    except ModelLoadError as error:
        print(f"parity: {error}", file=sys.stderr)
        return 1
    with Progress("scoring there and here"):
        parity = compare(model, arguments)
    agree = parity.relative_difference <= arguments.tolerance and parity.same_best
    if arguments.json:
        print(json.dumps({"model": model.spec.name, "agree": agree, **parity.figures()}))
        return 0 if agree else 1
    print(f"model             {model.spec.name}, {model.spec.checkpoint_digest or 'no digest published'}")
    for name, value in model.spec.provenance.items():
        print(f"{name:17} {value}")
    print(f"max difference    {parity.max_difference:.3g}, relative {parity.relative_difference:.3g}")
    print(f"rank correlation  {parity.rank_correlation:.6f}")
    print(f"best candidate    {'the same' if parity.same_best else 'differs'}")
    print(f"{'agree' if agree else 'disagree'} at tolerance {arguments.tolerance:g}")
    return 0 if agree else 1


def compare(model: ServedModel, arguments: argparse.Namespace) -> Parity:
    """Score on the server at `arguments.target` and here.

    Raises:
        FailedPreconditionError: the server runs other weights under the model's name.
        JepaError: a call fails.
    """
    from worldforge_jepa_server.local import LocalClient

    with connection.connect(arguments) as client:
        _check_same_weights(client.model(model.spec.name), model.spec)
        arrays = synthetic_arrays(model.spec, samples=arguments.samples, horizon=arguments.horizon, seed=arguments.seed)
        candidates, scene = arrays["action_candidates"], scene_of(arrays)
        options = {"objective": arguments.objective, "model": model.spec.name}
        served = client.score(**vars(scene), action_candidates=candidates, **options)
    with LocalClient(model) as here:
        local = here.score(**vars(scene), action_candidates=candidates, **options)
    return Parity(served.scores, local.scores, same_best=served.best_index == local.best_index)


def _check_same_weights(served: ModelSpec, local: ModelSpec) -> None:
    for there, here in (
        (served.checkpoint_digest, local.checkpoint_digest),
        (served.identity.weights_digest, local.identity.weights_digest),
    ):
        if there != here:
            raise FailedPreconditionError(
                f"the server's {served.name} has weights {there or 'of no digest'}, the model here {here or 'none'}",
                reason=Reason.OTHER_WEIGHTS,
            )


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return Spearman's correlation of two score arrays [S]: 1 where both rank the candidates alike."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    return scores.argsort(kind="stable").argsort()


def _at_least_two(text: str) -> int:
    if int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text} candidates cannot be ranked; expected at least 2")
    return int(text)
