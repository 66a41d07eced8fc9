"""The optional keywords of the clients' calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.planning import Method


class OptionKeywords(TypedDict, total=False):
    """How to score.

    Attributes:
        objective: "l2", "l1" or "cosine"; None is the model's default.
        proprio_weight: weight of the proprio features, >= 0; None is the model's default.
        actions_are_normalized: False has the server normalize candidates and history; True is the default.
    """

    objective: Objective | str | None
    proprio_weight: float | None
    actions_are_normalized: bool


class RequestKeywords(OptionKeywords, total=False):
    """What one request for scores may add to its candidates.

    Attributes:
        extra_info: JSON handed to models with a scoring method of their own (`reads_extra_info`); others refuse it.
    """

    extra_info: Mapping[str, Any]


class ScoreKeywords(RequestKeywords, total=False):
    """The optional keywords of `score` and `session`.

    Attributes:
        action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
        model: a served model's name; empty is that of the context, or else the server's default.
    """

    action_history: object
    model: str


class UnrollKeywords(TypedDict, total=False):
    """The optional keywords of `unroll`.

    Attributes:
        action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
        model: a served model's name; empty is that of the context, or else the server's default.
        actions_are_normalized: False has the server normalize candidates and history; True is the default.
        steps: the steps to return, from 1 to H, rising; none means all.
        samples: the candidates to unroll, from 0 to S - 1; none means all.
        dtype: "float32", "float16" or "bfloat16": how latents are sent.
    """

    action_history: object
    model: str
    actions_are_normalized: bool
    steps: Sequence[int]
    samples: Sequence[int]
    dtype: str


class PlanKeywords(OptionKeywords, total=False):
    """The optional keywords of `plan`; beyond these the fields of `planning.PlannerOptions`.

    Bounds, initial mean and plan are in normalized units always; `actions_are_normalized=False` says that the action
    history is raw, and is refused without one.

    Attributes:
        action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
        model: a served model's name; empty is that of the context, or else the server's default.
        method: "cem", "icem" or "mppi".
        seed: equal seeds give equal plans, from 0 to 2**64 - 1.
        initial_mean: the plan to start from, (H, A), e.g. what `planning.shift_plan` leaves of the last one.
        on_device: draw and refit on the model's device; other random numbers than on the host.
    """

    action_history: object
    model: str
    method: Method
    seed: int
    initial_mean: object
    on_device: bool
    horizon: int
    iterations: int
    samples: int
    elites: int
    initial_std: float | Sequence[float]
    min_std: float | Sequence[float]
    low: float | Sequence[float]
    high: float | Sequence[float]
    momentum: float
    temperature: float
    prior_fraction: float
    keep_best: bool


def check_keywords(keywords: Mapping[str, Any], known: Any) -> None:
    """Raise TypeError for a keyword that the TypedDict `known` has not: Python itself would let it pass."""
    unknown = sorted(set(keywords) - known.__optional_keys__)
    if unknown:
        raise TypeError(f"unknown keywords {', '.join(unknown)}; known: {', '.join(sorted(known.__optional_keys__))}")
