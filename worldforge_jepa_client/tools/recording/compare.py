"""Says how two answers to one request differ: scores, ranks, best candidates, plans, latents, reasons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """How an answer differs from the recorded one.

    Attributes:
        relative: the largest difference of a number, over the largest recorded one; inf where shapes or infinities
            differ.
        rank_correlation: Spearman's of the scores; None where there are none to rank.
        same_best: whether the best candidate is the same; None where there are no scores.
        problem: what else differs, in words; empty for nothing.
    """

    relative: float = 0.0
    rank_correlation: float | None = None
    same_best: bool | None = None
    problem: str = ""

    def beyond(self, tolerance: float) -> bool:
        """Return whether it is more than rounding: another best candidate, or numbers further apart."""
        return bool(self.problem) or self.same_best is False or not self.relative <= tolerance

    def figures(self) -> dict[str, Any]:
        """Return the measures as JSON."""
        return asdict(self) | {"relative": self.relative if np.isfinite(self.relative) else None}


def compare(method: str, recorded: Sequence[bytes], replayed: Sequence[bytes]) -> Difference:
    """Compare the messages that two servers answered with."""
    if len(recorded) != len(replayed):
        return Difference(problem=f"{len(recorded)} messages were answered, now {len(replayed)}")
    found = [_COMPARE[method](*pair) for pair in zip(recorded, replayed, strict=True)] if method in _COMPARE else []
    return max(found, key=lambda each: (each.beyond(0.0), each.relative), default=Difference())


def _scores(recorded: Any, replayed: Any) -> Difference:
    one, other = (tensors.decode_floats(each) for each in (recorded, replayed))
    return Difference(
        relative_difference(one, other),
        rank_correlation(one, other) if one.shape == other.shape and one.size > 1 else None,
        recorded.best_index == replayed.best_index,
    )


def _score(recorded: bytes, replayed: bytes) -> Difference:
    return _scores(*(jepa_pb2.ScoreResponse.FromString(each) for each in (recorded, replayed)))


def _stream(recorded: bytes, replayed: bytes) -> Difference:
    one, other = (jepa_pb2.ScoreStreamResponse.FromString(each) for each in (recorded, replayed))
    said = [each.error.reason or each.WhichOneof("result") or "no scores" for each in (one, other)]
    if said[0] != said[1]:
        return Difference(problem=f"was {said[0]}, now {said[1]}")
    return _scores(one.score, other.score) if one.HasField("score") else Difference()


def _plan(recorded: bytes, replayed: bytes) -> Difference:
    return _tensors(jepa_pb2.PlanResponse, ("mean", "best_actions"), recorded, replayed)


def _latents(message: Any) -> Callable[[bytes, bytes], Difference]:
    return lambda recorded, replayed: _tensors(message, ("latents.visual", "latents.proprio"), recorded, replayed)


def _tensors(message: Any, names: Sequence[str], recorded: bytes, replayed: bytes) -> Difference:
    one, other = (message.FromString(each) for each in (recorded, replayed))
    return Difference(max(relative_difference(_array(one, name), _array(other, name)) for name in names))


def _array(message: Any, path: str) -> Array:
    for name in path.split("."):
        message = getattr(message, name)
    return tensors.decode(message, field=path) if message.dtype else np.zeros(0, np.float32)


_COMPARE: dict[str, Callable[[bytes, bytes], Difference]] = {
    "Score": _score,
    "ScoreStream": _stream,
    "Plan": _plan,
    "Encode": _latents(jepa_pb2.EncodeResponse),
    "Unroll": _latents(jepa_pb2.UnrollResponse),
}
"""Other methods answer with nothing that a model computes."""


def relative_difference(one: Array, other: Array) -> float:
    """Return the largest difference over the largest of `one`; inf where the shapes or the infinities differ."""
    if one.shape != other.shape or not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    finite = np.isfinite(one)
    one, other = (each[finite].astype(np.float64) for each in (one, other))
    return float(np.abs(one - other).max() / (np.abs(one).max() or 1.0)) if one.size else 0.0


def rank_correlation(one: Array, other: Array) -> float:
    """Return Spearman's correlation of two score arrays [S], S at least 2: 1 where both rank the candidates alike."""
    ranks = [each.argsort(kind="stable").argsort() for each in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
