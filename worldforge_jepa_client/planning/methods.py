"""CEM, iCEM and MPPI over action sequences: a planner proposes candidates, its caller scores them.

    planner = CEM(horizon=6, action_dim=10, rng=0)
    for _ in range(30):
        candidates = planner.ask()          # float32 [1, S, H, A]
        planner.tell(score(candidates))     # float [S], lower is better
    planner.mean                            # float32 [H, A], the plan

Pure numpy: a planner knows no model and no server, and all its randomness comes from the `rng` it is given.
The letters S, H, A and K are those of `planning.base`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from worldforge_jepa_client.planning.base import (
    Arrays,
    Float32,
    Float64,
    HostArrays,
    Moments,
    Planner,
    expect,
)

Method = Literal["cem", "icem", "mppi"]


@dataclass(kw_only=True, eq=False)
class CEM(Planner):
    """The cross-entropy method (Rubinstein 1999; de Boer et al. 2005): refit the Gaussian to the K elites.

    `momentum` in [0, 1) keeps that share of the previous mean and std.
    """

    elites: int = 10
    momentum: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(2 <= self.elites <= self.samples, "elites", self.elites, f"2 to samples = {self.samples}")
        expect(0 <= self.momentum < 1, "momentum", self.momentum, "a share in [0, 1)")

    def _refit(self, candidates: Float64, scores: Float64) -> Moments:
        mean, std = elite_moments(candidates, scores, self.elites)
        if np.isfinite(scores).sum() < 2:  # one candidate has no deviation
            std = self._arrays.double(self.std)
        keep, learn = self.momentum, 1 - self.momentum
        return keep * self.mean + learn * mean, keep * self.std + learn * std


@dataclass(kw_only=True, eq=False)
class ICEM(CEM):
    """The improved cross-entropy method (Pinneri et al. 2020, arXiv:2008.06389): fewer samples, smoother plans.

    - The noise is correlated along the horizon: power f ** -`noise_beta` at frequency f, and for every action
      variance 1. 0 is white; the paper takes 0.25 to 4, more for slower systems.
    - The best `keep_elites` share of the elites is scored again among the next S, as candidates 1, 2 and so on.
    - `decay`, the paper's gamma, makes iteration i ask for only S * decay ** -i candidates, at least 2 K. 1 keeps S;
      the paper's 1.25 is for a handful of iterations.

    The mean competes in every iteration, not in the last one only. Elites are not shifted from one plan to the
    next: a warm start gives `initial_mean`.
    """

    momentum: float = 0.1
    noise_beta: float = 2.0
    keep_elites: float = 0.3
    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(0 <= self.noise_beta < np.inf, "noise_beta", self.noise_beta, "finite and not negative")
        expect(0 <= self.keep_elites <= 1, "keep_elites", self.keep_elites, "a share from 0 to 1")
        expect(1 <= self.decay < np.inf, "decay", self.decay, "finite and at least 1")
        self._colour = self._arrays.single(noise_filter(self.horizon, self.noise_beta))

    def _count(self) -> int:
        decayed = int(self.samples * self.decay**-self.iterations)
        return min(self.samples, max(decayed, 2 * self.elites))

    def _noise(self, count: int) -> Float32:
        coloured: Float32 = self._colour @ super()._noise(count)
        return coloured

    def _refit(self, candidates: Float64, scores: Float64) -> Moments:
        self._kept = self._arrays.single(candidates[lowest(scores, round(self.keep_elites * self.elites))])
        return super()._refit(candidates, scores)


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
        expect(0 < self.temperature < np.inf, "temperature", self.temperature, "finite and above 0")
        elites = self.samples if self.elites is None else self.elites
        expect(1 <= elites <= self.samples, "elites", elites, f"1 to samples = {self.samples}")

    def _refit(self, candidates: Float64, scores: Float64) -> Moments:
        kept = lowest(scores, self.elites)
        actions = candidates[kept]
        weights = self._arrays.double(path_integral_weights(scores[kept], self.temperature))

        def average(values: Float64) -> Float64:
            weighted: Float64 = weights @ values.reshape(len(weights), -1)
            return weighted.reshape(values.shape[1:])

        mean = average(actions)
        return mean, average((actions - mean) ** 2) ** 0.5 if self.refit_std else self.std


def lowest(scores: Float64, count: int | None) -> npt.NDArray[np.intp]:
    """Return the indices of the `count` lowest scores [S], None for all, lowest first, equals in their order.

    Those of infinite scores are left out.
    """
    order = np.argsort(scores, kind="stable")[:count]
    feasible: npt.NDArray[np.intp] = order[np.isfinite(scores[order])]
    return feasible


def elite_moments(candidates: Float64, scores: Float64, elites: int) -> tuple[Float64, Float64]:
    """Return the mean and the unbiased std, [H, A], of the K candidates [S, H, A] with the lowest scores [S]."""
    best = candidates[lowest(scores, elites)]
    mean = best.mean(axis=0)
    return mean, (((best - mean) ** 2).sum(axis=0) / max(1, len(best) - 1)) ** 0.5


def path_integral_weights(scores: Float64, temperature: float) -> Float64:
    """Return softmax(-scores / temperature), float64 [S]; taking the lowest score off first changes no weight."""
    with np.errstate(over="ignore"):
        weights: Float64 = np.exp(-(scores - scores.min()) / temperature)
    weights /= weights.sum()
    return weights


def noise_filter(horizon: int, beta: float) -> Float64:
    """Return the filter [H, H] that gives white noise [H, A] the power f ** -beta at frequency f, variance kept.

    As in the paper, after Timmer & Koenig (1995): Fourier amplitudes f ** (-beta / 2), frequency 0 having that of
    the lowest other one, 1 / H.
    """
    amplitudes = np.maximum(np.arange(horizon // 2 + 1), 1) ** (-beta / 2)
    spectra = amplitudes[:, None] * np.fft.rfft(np.eye(horizon), axis=0)
    responses: Float64 = np.fft.irfft(spectra, n=horizon, axis=0)
    responses /= np.linalg.norm(responses[0])
    return responses


@dataclass(frozen=True, kw_only=True)
class PlannerOptions:
    """The settings of a planner, on either side of the wire; None leaves one to the model's, then to the method's.

    Each field but `iterations`, which the loop around the planner reads, is a planner's field of that name.

    Attributes:
        horizon: H, in model steps; 6 where nothing says otherwise.
        iterations: how often the distribution is refitted; 30 where nothing says otherwise.
        samples: S, the candidates of an iteration.
        elites: K, how many of the best refit the distribution.
        initial_std: the first standard deviation, one value or A.
        min_std: the floor of the standard deviation, one value or A.
        low: the lower bounds of an action's entries, one value or A.
        high: the upper bounds, likewise.
        momentum: CEM and iCEM: the share of the last mean and deviation that is kept, in [0, 1).
        temperature: MPPI: in units of the score.
        prior_fraction: the share of the first candidates drawn around zero instead of `initial_mean`.
        keep_best: whether the best candidate so far competes in every iteration.
    """

    horizon: int | None = None
    iterations: int | None = None
    samples: int | None = None
    elites: int | None = None
    initial_std: npt.ArrayLike | None = None
    min_std: npt.ArrayLike | None = None
    low: npt.ArrayLike | None = None
    high: npt.ArrayLike | None = None
    momentum: float | None = None
    temperature: float | None = None
    prior_fraction: float | None = None
    keep_best: bool | None = None

    def over(self, defaults: PlannerOptions) -> PlannerOptions:
        """Return these options, with those of `defaults` where one is None."""
        return replace(defaults, **{name: value for name, value in vars(self).items() if value is not None})


FALLBACK = PlannerOptions(horizon=6, iterations=30)
"""The options that neither caller, nor model, nor method sets."""


def make_planner(
    method: Method,
    options: PlannerOptions,
    *,
    action_dim: int,
    rng: int | np.random.Generator,
    initial_mean: npt.ArrayLike | None = None,
    arrays: Callable[[int | np.random.Generator], Arrays] = HostArrays,
) -> Planner:
    """Return the planner of that name.

    Raises:
        ValueError: an option is bad, or the method does not have it; the message names it.
    """
    options = options.over(FALLBACK)
    planners: dict[str, type[Planner]] = {"cem": CEM, "icem": ICEM, "mppi": MPPI}
    expect(method in planners, "method", repr(method), f"one of {', '.join(planners)}")
    expect((options.iterations or 0) >= 1, "iterations", options.iterations, "at least 1")
    given = {name: value for name, value in vars(options).items() if name != "iterations" and value is not None}
    known = {each.name for each in fields(planners[method]) if each.init}
    for name, value in given.items():
        expect(name in known, name, value, f"None: {method} has no such option")
    return planners[method](action_dim=action_dim, rng=rng, initial_mean=initial_mean, arrays=arrays, **given)
