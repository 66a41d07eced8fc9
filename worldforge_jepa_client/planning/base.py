"""The base of the sampling planners: a Gaussian over plans, the draw from it, and the loop around it.

Letters: S samples (candidates), H horizon (model steps), A action dim, K elites. Actions, bounds and stds are
in the units the model takes its actions in, scores in the scorer's own.
A bad argument is a ValueError that names it, what came and what was expected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Moments = tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]
Score = Callable[[Float32], npt.ArrayLike]
"""float32 [1, S, H, A] candidates -> float [S] scores, lower is better."""


class Arrays(Protocol):
    """Makes a planner's arrays, of numpy or of torch on a device, and its normal draws.

    Beyond these four methods a planner uses only operations that both kinds of array share.
    """

    def normal(self, shape: tuple[int, ...]) -> Any:
        """Draw from the standard normal distribution, float32."""

    def single(self, values: Any) -> Any:
        """Copy to float32 there, from there or from numpy."""

    def double(self, values: Any) -> Any:
        """Convert to float64 there, from there or from numpy."""

    def host(self, values: Any) -> Float64:
        """Convert to numpy's float64."""


class HostArrays:
    """Numpy's arrays; `rng` is a seed, or a Generator to go on drawing from."""

    def __init__(self, rng: int | np.random.Generator) -> None:
        self._generator = np.random.default_rng(rng)

    def normal(self, shape: tuple[int, ...]) -> Float32:
        """Draw from the standard normal distribution."""
        return self._generator.standard_normal(shape, dtype=np.float32)

    def single(self, values: npt.ArrayLike) -> Float32:
        """Copy to float32."""
        return np.array(values, dtype=np.float32)

    def double(self, values: npt.ArrayLike) -> Float64:
        """Convert to float64."""
        return np.asarray(values, dtype=np.float64)

    host = double


@dataclass(kw_only=True, eq=False)
class Planner(ABC):
    """A diagonal Gaussian over plans, `mean` and `std` float32 [H, A], refitted to the scores of its samples.

    Of the S candidates, number 0 is the mean itself. With `keep_best`, number 1 is the best candidate seen
    so far, from the second iteration on. A warm start gives `initial_mean` [H, A] (zeros otherwise); then, in
    the first iteration only, the last `round(prior_fraction * S)` candidates are still drawn around zero.

    `initial_std`, `min_std` (the floor of `std`), `low` and `high` have one entry, for all, or A; an infinite
    bound leaves its dimension unclipped. `rng` is a seed, or a Generator to go on drawing from. With other
    `arrays` than numpy's, candidates, mean, std and best actions are of their kind, and scores may be.
    """

    horizon: int
    action_dim: int
    rng: int | np.random.Generator
    samples: int = 300
    initial_mean: npt.ArrayLike | None = None
    initial_std: npt.ArrayLike = 1.0
    min_std: npt.ArrayLike = 0.0
    low: npt.ArrayLike = -np.inf
    high: npt.ArrayLike = np.inf
    prior_fraction: float = 0.0
    keep_best: bool = False
    arrays: Callable[[int | np.random.Generator], Arrays] = HostArrays

    mean: Float32 = field(init=False)
    """[H, A], the centre of the next candidates and, once the loop ends, the plan."""
    std: Float32 = field(init=False)
    """[H, A], the standard deviation of the next candidates."""
    best_actions: Float32 = field(init=False)
    """[H, A], the candidate with the lowest score so far; the initial mean before the first `tell`."""
    best_score: float = field(init=False, default=np.inf)
    """The score of `best_actions`; infinite before the first `tell`."""
    iterations: int = field(init=False, default=0)
    """The number of calls of `tell`."""

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("action_dim", 1), ("samples", 2)):
            expect(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        expect(0 <= self.prior_fraction <= 1, "prior_fraction", self.prior_fraction, "a share from 0 to 1")
        low, high = self._per_dim("low"), self._per_dim("high")
        expect(np.all(low <= high), "low", summary(self.low), f"at most high, which is {summary(self.high)}")
        expect(np.all(low < np.inf), "low", summary(self.low), "finite or -inf")
        expect(np.all(high > -np.inf), "high", summary(self.high), "finite or inf")
        min_std, std = self._std_per_dim("min_std"), self._std_per_dim("initial_std")
        mean = self._first_mean()

        self._arrays = self.arrays(self.rng)
        self._low, self._high, self._min_std = (self._arrays.single(each) for each in (low, high, min_std))
        self.mean = self.best_actions = self._clip(self._arrays.single(mean))
        self.std = self._arrays.single(np.tile(np.maximum(std, min_std), (self.horizon, 1)))
        self._asked: Float32 | None = None
        # Earlier candidates, fewer than S or none, that compete again from number 1 on.
        self._kept: Float32 = self._arrays.single(np.empty((0, self.horizon, self.action_dim)))

    def ask(self) -> Float32:
        """Draw candidates, float32 [1, S, H, A]; those of an earlier `ask` without a `tell` are dropped."""
        count = self._count()
        offsets = self.std * self._noise(count)
        candidates = self._clip(self.mean + offsets)
        if self.iterations == 0:
            prior = count - round(self.prior_fraction * count)
            candidates[prior:] = self._clip(offsets[prior:])
        candidates[0] = self.mean
        kept = self._kept[: count - 1]
        candidates[1 : 1 + len(kept)] = kept
        if self.keep_best and self.iterations > 0:
            candidates[1] = self.best_actions
        self._asked = candidates
        copied: Float32 = self._arrays.single(candidates[None])
        return copied

    def tell(self, scores: npt.ArrayLike) -> None:
        """Refit to `scores`, float [S], one for each candidate of the last `ask`; lower is better.

        A score of inf marks a candidate that is never to be chosen: no refit uses it, and where all are marked the
        distribution stays as it is.

        Raises ValueError, and changes nothing, if nothing was asked or the scores are not S numbers, finite or inf.
        """
        told = self._arrays.host(scores)
        if self._asked is None:
            raise ValueError(f"scores: got shape {told.shape}, expected none before candidates are asked for")
        expected = (len(self._asked),)
        expect(told.shape == expected, "scores", f"shape {told.shape}", f"shape {expected}")
        valid = told > -np.inf  # False for NaN too
        first = int(valid.argmin())
        expect(valid.all(), "scores", f"{told[first]} for candidate {first}", "finite numbers, or inf for never")

        best = int(told.argmin())
        if told[best] < self.best_score:
            self.best_actions, self.best_score = self._arrays.single(self._asked[best]), float(told[best])
        if told[best] < np.inf:
            mean, std = self._refit(self._arrays.double(self._asked), told)
            self.mean = self._clip(self._arrays.single(mean))
            self.std = self._arrays.single(std).clip(self._min_std)
        self._asked = None
        self.iterations += 1

    @property
    def spread(self) -> float:
        """The mean of `std`, in action units; it falls as the candidates agree."""
        return float(self.std.mean())

    @abstractmethod
    def _refit(self, candidates: Float64, scores: Float64) -> Moments:
        """Return the next mean and std, each [H, A], from candidates [S, H, A] and their scores [S], on the host."""

    def _count(self) -> int:
        """Return S, the number of candidates to ask for."""
        return self.samples

    def _noise(self, count: int) -> Float32:
        """Draw the noise that `std` scales, [S, H, A]: mean 0, variance 1, independent from sample to sample."""
        noise: Float32 = self._arrays.normal((count, self.horizon, self.action_dim))
        return noise

    def _first_mean(self) -> Float32:
        shape = (self.horizon, self.action_dim)
        given = np.zeros(shape) if self.initial_mean is None else self.initial_mean
        mean = np.asarray(given)
        expect(mean.shape == shape, "initial_mean", f"shape {mean.shape}", f"[H, A] = {shape}")
        mean = np.array(mean, dtype=np.float32)
        expect(np.isfinite(mean).all(), "initial_mean", summary(mean), "finite numbers")
        return mean

    def _per_dim(self, name: str) -> Float32:
        value = np.asarray(getattr(self, name), dtype=np.float32)
        shape = (self.action_dim,)
        expect(value.shape in ((), (1,), shape), name, f"shape {value.shape}", f"a scalar or [A] = {shape}")
        expect(not np.isnan(value).any(), name, summary(value), "numbers")
        return np.broadcast_to(value, shape).copy()

    def _std_per_dim(self, name: str) -> Float32:
        std = self._per_dim(name)
        valid = (std >= 0) & (std < np.inf)
        expect(valid.all(), name, summary(getattr(self, name)), "finite and not negative")
        return std

    def _clip(self, actions: Float32) -> Float32:
        return actions.clip(self._low, self._high)


def plan(planner: Planner, score: Score, iterations: int) -> Float32:
    """Ask, score and tell `iterations` times; return the planner's mean, float32 [H, A]."""
    expect(iterations >= 1, "iterations", iterations, "at least 1")
    for _ in range(iterations):
        planner.tell(score(planner.ask()))
    return planner.mean


def shift_plan(plan: Float32, steps: int, horizon: int | None = None, pad: Literal["zero", "last"] = "zero") -> Float32:
    """Return the warm start after `steps` of `plan` [H, A] were executed: float32 [horizon, A], by default H again.

    Drops the executed steps, then cuts to `horizon` or pads with zeros or with the plan's last action.
    """
    expect(plan.ndim == 2 and len(plan) > 0, "plan", f"shape {plan.shape}", "[H, A] with H at least 1")
    expect(0 <= steps <= len(plan), "steps", steps, f"0 to H = {len(plan)}")
    horizon = len(plan) if horizon is None else horizon
    expect(horizon >= 1, "horizon", horizon, "at least 1")
    expect(pad in ("zero", "last"), "pad", repr(pad), "'zero' or 'last'")
    filler = plan[-1] if pad == "last" else np.zeros_like(plan[-1])
    padded: Float32 = np.concatenate([plan[steps:], np.tile(filler, (horizon, 1))])[:horizon].astype(np.float32)
    return padded


def summary(values: npt.ArrayLike) -> str:
    """Return values as text, of a long array only the first and the last few."""
    return " ".join(np.array2string(np.asarray(values), separator=", ", threshold=16, edgeitems=2).split())


def expect(holds: bool | np.bool_, name: str, got: object, expected: str) -> None:
    """Raise ValueError, naming the argument, unless it `holds`."""
    if not holds:
        raise ValueError(f"{name}: got {got}, expected {expected}")
