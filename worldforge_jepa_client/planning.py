"""Sampling planners over action sequences: they propose candidates, someone else scores them.

    planner = CEM(horizon=6, action_dim=10, rng=0)
    for _ in range(30):
        candidates = planner.ask()          # float32 [1, S, H, A]
        planner.tell(score(candidates))     # float [S], lower is better
    planner.mean                            # float32 [H, A], the plan

Pure numpy: a planner knows no model and no server, and all its randomness comes from the `rng` it is given.
Letters: S samples (candidates), H horizon (model steps), A action dim, K elites. Actions, bounds and stds are
in the units the model takes its actions in, scores in the scorer's own.
A bad argument is a ValueError that names it, what came and what was expected.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Score = Callable[[Float32], npt.ArrayLike]
"""float32 [1, S, H, A] candidates -> float [S] scores, lower is better."""


@dataclass(kw_only=True, eq=False)
class Planner(ABC):
    """A diagonal Gaussian over plans, `mean` and `std` float32 [H, A], refitted to the scores of its samples.

    Of the S candidates, number 0 is the mean itself. With `keep_best`, number 1 is the best candidate seen
    so far, from the second iteration on. A warm start gives `initial_mean` [H, A] (zeros otherwise); then, in
    the first iteration only, the last `round(prior_fraction * S)` candidates are still drawn around zero.

    `initial_std`, `min_std` (the floor of `std`), `low` and `high` are scalars or have A entries; an
    infinite bound leaves its dimension unclipped. `rng` is a seed, or a Generator to go on drawing from.
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

    mean: Float32 = field(init=False)
    """[H, A], the centre of the next candidates and, once the loop ends, the plan."""
    std: Float32 = field(init=False)
    """[H, A], the standard deviation of the next candidates."""
    best_actions: Float32 = field(init=False)
    """[H, A], the candidate with the lowest score so far; the initial mean before the first `tell`."""
    best_score: float = field(init=False, default=np.inf)
    """The score of `best_actions`; infinite before the first `tell`."""
    iterations: int = field(init=False, default=0)
    """How many times `tell` was called."""

    def __post_init__(self) -> None:
        for name, least in (("horizon", 1), ("action_dim", 1), ("samples", 2)):
            _expect(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        _expect(0 <= self.prior_fraction <= 1, "prior_fraction", self.prior_fraction, "a share from 0 to 1")
        self._low, self._high = self._per_dim("low"), self._per_dim("high")
        _expect(np.all(self._low <= self._high), "low", self.low, f"at most high, which is {self.high}")
        _expect(np.all(self._low < np.inf), "low", self.low, "finite or -inf")
        _expect(np.all(self._high > -np.inf), "high", self.high, "finite or inf")
        self._min_std, std = self._std_per_dim("min_std"), self._std_per_dim("initial_std")
        self._generator = np.random.default_rng(self.rng)
        self._asked: Float32 | None = None
        self.mean = self.best_actions = self._first_mean()
        self.std = np.broadcast_to(np.maximum(std, self._min_std), self.mean.shape).copy()

    def ask(self) -> Float32:
        """Draw candidates, float32 [1, S, H, A]; those of an earlier `ask` without a `tell` are dropped."""
        noise = self._generator.standard_normal((self.samples, *self.mean.shape), dtype=np.float32)
        centre = np.broadcast_to(self.mean, noise.shape).copy()
        if self.iterations == 0:
            centre[self.samples - round(self.prior_fraction * self.samples) :] = 0
        candidates = self._clip(centre + self.std * noise)
        candidates[0] = self.mean
        if self.keep_best and self.iterations > 0:
            candidates[1] = self.best_actions
        self._asked = candidates
        return candidates[None].copy()

    def tell(self, scores: npt.ArrayLike) -> None:
        """Refit to `scores`, float [S], one for each candidate of the last `ask`; lower is better.

        Raises ValueError, and changes nothing, if nothing was asked or the scores are not S finite numbers.
        """
        told = np.asarray(scores, dtype=np.float64)
        if self._asked is None:
            raise ValueError(f"scores: got shape {told.shape}, expected none before candidates are asked for")
        _expect(told.shape == (self.samples,), "scores", f"shape {told.shape}", f"shape ({self.samples},)")
        finite = np.isfinite(told)
        first = int(finite.argmin())
        _expect(finite.all(), "scores", f"{told[first]} for candidate {first}", "finite numbers")

        best = int(told.argmin())
        if told[best] < self.best_score:
            self.best_actions, self.best_score = self._asked[best].copy(), float(told[best])
        mean, std = self._refit(self._asked, told)
        self.mean = self._clip(mean.astype(np.float32))
        self.std = np.maximum(std.astype(np.float32), self._min_std)
        self._asked = None
        self.iterations += 1

    @property
    def spread(self) -> float:
        """The mean of `std`: falls as the candidates agree, in action units."""
        return float(self.std.mean())

    @abstractmethod
    def _refit(self, candidates: Float32, scores: Float64) -> tuple[Float64, Float64]:
        """The next mean and std, each [H, A], from candidates [S, H, A] and their scores [S]."""

    def _first_mean(self) -> Float32:
        shape = (self.horizon, self.action_dim)
        given = np.zeros(shape) if self.initial_mean is None else self.initial_mean
        mean = np.asarray(given, dtype=np.float32)
        _expect(mean.shape == shape, "initial_mean", f"shape {mean.shape}", f"[H, A] = {shape}")
        _expect(np.isfinite(mean).all(), "initial_mean", mean.tolist(), "finite numbers")
        return self._clip(mean)

    def _per_dim(self, name: str) -> Float32:
        value = np.asarray(getattr(self, name), dtype=np.float32)
        shape = (self.action_dim,)
        _expect(value.shape in ((), shape), name, f"shape {value.shape}", f"a scalar or [A] = {shape}")
        _expect(not np.isnan(value).any(), name, value.tolist(), "numbers")
        return np.broadcast_to(value, shape)

    def _std_per_dim(self, name: str) -> Float32:
        std = self._per_dim(name)
        valid = (std >= 0) & (std < np.inf)
        _expect(valid.all(), name, getattr(self, name), "finite and not negative")
        return std

    def _clip(self, actions: Float32) -> Float32:
        return np.clip(actions, self._low, self._high)


@dataclass(kw_only=True, eq=False)
class CEM(Planner):
    """The cross-entropy method (Rubinstein 1999; de Boer et al. 2005): refit the Gaussian to the K elites.

    `momentum` in [0, 1) keeps that share of the previous mean and std.
    """

    elites: int = 10
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect(2 <= self.elites <= self.samples, "elites", self.elites, f"2 to samples = {self.samples}")
        _expect(0 <= self.momentum < 1, "momentum", self.momentum, "a share in [0, 1)")

    def _refit(self, candidates: Float32, scores: Float64) -> tuple[Float64, Float64]:
        mean, std = elite_moments(candidates, scores, self.elites)
        keep, learn = self.momentum, 1 - self.momentum
        return keep * self.mean + learn * mean, keep * self.std + learn * std


@dataclass(kw_only=True, eq=False)
class MPPI(Planner):
    """Model predictive path integral control (Williams et al. 2017): weights exp(-score / temperature).

    `temperature`, the paper's lambda, is in units of the score. The std stays `initial_std` as in the paper;
    with `refit_std` it becomes the weighted one. `elites` weighs only the K best candidates, None all S.
    """

    temperature: float = 1.0
    elites: int | None = None
    refit_std: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect(0 < self.temperature < np.inf, "temperature", self.temperature, "finite and above 0")
        elites = self.samples if self.elites is None else self.elites
        _expect(1 <= elites <= self.samples, "elites", elites, f"1 to samples = {self.samples}")

    def _refit(self, candidates: Float32, scores: Float64) -> tuple[Float64, Float64]:
        kept = np.argsort(scores, kind="stable")[: self.elites]
        actions = candidates[kept].astype(np.float64)
        weights = path_integral_weights(scores[kept], self.temperature)
        mean = np.tensordot(weights, actions, axes=1)
        if not self.refit_std:
            return mean, self.std.astype(np.float64)
        return mean, np.sqrt(np.tensordot(weights, (actions - mean) ** 2, axes=1))


def elite_moments(candidates: Float32, scores: Float64, elites: int) -> tuple[Float64, Float64]:
    """Mean and unbiased std, float64 [H, A], of the K candidates [S, H, A] with the lowest scores [S]."""
    best = candidates[np.argsort(scores, kind="stable")[:elites]].astype(np.float64)
    return best.mean(axis=0), best.std(axis=0, ddof=1)


def path_integral_weights(scores: Float64, temperature: float) -> Float64:
    """softmax(-scores / temperature), float64 [S]; taking the lowest score off first changes no weight."""
    with np.errstate(over="ignore"):
        weights: Float64 = np.exp(-(scores - scores.min()) / temperature)
    weights /= weights.sum()
    return weights


def plan(planner: Planner, score: Score, iterations: int) -> Float32:
    """Ask, score and tell `iterations` times; returns the planner's mean, float32 [H, A]."""
    _expect(iterations >= 1, "iterations", iterations, "at least 1")
    for _ in range(iterations):
        planner.tell(score(planner.ask()))
    return planner.mean


def shift_plan(plan: Float32, steps: int, horizon: int | None = None, pad: Literal["zero", "last"] = "zero") -> Float32:
    """The warm start after `steps` of `plan` [H, A] were executed: float32 [horizon, A], by default H again.

    Drops the executed steps, then cuts to `horizon` or pads with zeros or with the plan's last action.
    """
    _expect(plan.ndim == 2 and len(plan) > 0, "plan", f"shape {plan.shape}", "[H, A] with H at least 1")
    _expect(0 <= steps <= len(plan), "steps", steps, f"0 to H = {len(plan)}")
    horizon = len(plan) if horizon is None else horizon
    _expect(horizon >= 1, "horizon", horizon, "at least 1")
    _expect(pad in ("zero", "last"), "pad", repr(pad), "'zero' or 'last'")
    filler = plan[-1] if pad == "last" else np.zeros_like(plan[-1])
    padded = np.concatenate([plan[steps:], np.tile(filler, (horizon, 1))])
    return padded[:horizon].astype(np.float32)


def _expect(holds: bool | np.bool_, name: str, got: object, expected: str) -> None:
    if not holds:
        raise ValueError(f"{name}: got {got}, expected {expected}")
