"""Candidate tensors to WorldForge `Action` sequences and back. Pure numpy; WorldForge need not be installed.

A packed action becomes `frameskip` actions, one for each raw step of the environment, whose kind is the task family and
whose parameters are its fields, in raw units. Packing, splitting and JSON lose nothing. Between normalized candidates
and raw actions stand a multiplication and an addition, carried out in float64: back in float32, candidates have the
same bits, save entries below 1e-6 of |mean / std|, which come back within 1e-15 of |mean / std|. Starting from actions,
candidates round their values to float32.

Letters: S samples (candidates), H horizon, A packed action dim, a raw action dim.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.errors import FailedPreconditionError, OutOfRangeError, invalid
from worldforge_jepa_client.inputs.arrays import as_candidates
from worldforge_jepa_client.inputs.scalars import as_float
from worldforge_jepa_client.provider.task_families import FAMILIES, TaskFamily
from worldforge_jepa_client.reasons import Reason

_Action = TypeVar("_Action")

_DEVIATIONS = (-3.0, 3.0)
_PLANE = 2


def plain_action(kind: str, parameters: dict[str, float]) -> dict[str, Any]:
    """The JSON that WorldForge's `Action.to_dict` gives and its `Action.from_dict` takes."""
    return {"type": kind, "parameters": parameters}


class ActionMapping:
    """Translates between one model's candidates and actions.

    Args:
        spec: publishes the environment, the frameskip and the statistics.

    Raises:
        FailedPreconditionError: it publishes no environment of `FAMILIES`, or other actions than that has.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.family = _family(spec)
        self._spec = spec
        self._names = [field.name for field in self.family.fields]

    def steps(self, horizon: int) -> int:
        """Return how many actions a plan of H model steps has: the `max_steps` with which `World.plan` cuts none."""
        return horizon * self._spec.frameskip

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Return the lowest and highest raw value of each field.

        Those of the environment; where it takes any, of the model's published planner, else three deviations about the
        mean.
        """
        limit, planner = self.family.limit, self._spec.planner
        if limit is not None:
            return dict.fromkeys(self._names, (-limit, limit))
        mean, std = self._statistics()
        low, high = (planner.low, planner.high) if planner and planner.low else (_DEVIATIONS[:1], _DEVIATIONS[1:])
        lows, highs = (np.resize(end, len(mean)) * std + mean for end in (low, high))
        return dict(zip(self._names, zip(lows.tolist(), highs.tolist(), strict=True), strict=True))

    def planner_config(self, horizon: int) -> dict[str, Any]:
        """Return the settings of WorldForge's `PlannerConfig` that the model decides, for plans of H model steps."""
        return {
            "horizon": self.steps(horizon),
            "action_kind": self.family.name,
            "action_parameter_bounds": self.bounds(),
        }

    def paths(self, candidates: object, start: NDArray[Any], width: int) -> NDArray[np.float64] | None:
        """Return where normalized candidates lead in a frame, (S, H * frameskip + 1, 2): px from its left and top.

        They are the commanded displacements, added up: walls and inertia are not in them. None where the environment's
        actions are no displacements in its frame.

        Args:
            candidates: (1, S, H, A), or (S, H, A).
            start: (2,), px.
            width: of the frame, px.
        """
        scales = [re.fullmatch(r"(?:(\d+) )?px of (\d+)", field.unit) for field in self.family.fields]
        if len(scales) != _PLANE or not all(scales):
            return None
        mean, std = self._statistics()
        raw = self._steps(candidates) * std + mean
        if self.family.limit is not None:
            raw = raw.clip(-self.family.limit, self.family.limit)
        moved = raw * [int(scale[1] or 1) * width / int(scale[2]) for scale in scales if scale]
        begin = np.broadcast_to(np.asarray(start, np.float64), (len(moved), 1, _PLANE))
        paths: NDArray[np.float64] = np.concatenate([begin, begin + moved.cumsum(axis=1)], axis=1)
        return paths

    def actions(
        self,
        candidates: object,
        *,
        normalized: bool = True,
        max_steps: int | None = None,
        make: Callable[[str, dict[str, float]], _Action] = plain_action,  # type: ignore[assignment]
    ) -> list[list[_Action]]:
        """Return the S plans that candidates stand for, each of H * frameskip actions in raw units.

        Args:
            candidates: (1, S, H, A), or (S, H, A).
            normalized: whether they are in the model's normalized units, or raw.
            max_steps: that of the `World.plan` they are for, which would cut longer plans; None is no limit.
            make: gives an action of kind and parameters: WorldForge's `Action`, or by default its JSON.

        Raises:
            InvalidArgumentError: not such an array, or not finite.
            OutOfRangeError: plans longer than `max_steps`.
            FailedPreconditionError: the model publishes no statistics.
        """
        steps = self._steps(candidates)
        if max_steps is not None and steps.shape[1] > max_steps:
            raise OutOfRangeError(
                f"plans have {steps.shape[1]} actions; World.plan would cut them to max_steps, {max_steps}",
                reason=Reason.LIMIT_EXCEEDED,
                field="candidates",
            )
        if normalized:
            mean, std = self._statistics()
            steps = steps * std + mean
        kind, names = self.family.name, self._names
        return [[make(kind, dict(zip(names, step, strict=True))) for step in plan] for plan in steps.tolist()]

    def candidates(self, plans: Sequence[Sequence[object]], *, normalized: bool = True) -> NDArray[np.float32]:
        """Return the candidates float32 (1, S, H, A) that plans of raw actions stand for.

        Args:
            plans: S plans of equal length, a multiple of the frameskip; each action is WorldForge's `Action` or JSON.
            normalized: whether to return the model's normalized units, or raw.

        Raises:
            InvalidArgumentError: other actions than the family's, plans that do not pack, or numbers beyond float32.
            FailedPreconditionError: the model publishes no statistics.
        """
        length = self._common_length(plans)
        steps = np.array(
            [
                [self._values(action, f"plans[{s}][{h}]") for h, action in enumerate(plan)]
                for s, plan in enumerate(plans)
            ]
        )
        if normalized:
            mean, std = self._statistics()
            steps = (steps - mean) / std
        with np.errstate(over="ignore"):
            packed = steps.astype(np.float32).reshape(1, len(plans), length // self._spec.frameskip, -1)
        if not np.isfinite(packed).all():
            raise invalid("plans", "hold numbers beyond float32", Reason.NON_FINITE)
        return packed

    def _steps(self, candidates: object) -> NDArray[np.float64]:
        """Candidates as raw steps, [S, H * frameskip, a], whatever their units."""
        array = as_candidates(candidates, "candidates")
        expected = self._spec.action_dim
        if array.shape[0] != 1 or array.shape[-1] != expected:
            raise invalid(
                "candidates", f"has shape {array.shape}; expected (1, S, H, {expected})", Reason.INVALID_SHAPE
            )
        if not np.isfinite(array).all():
            raise invalid("candidates", "holds NaN or infinite values; expected finite numbers", Reason.NON_FINITE)
        return array.astype(np.float64).reshape(array.shape[1], -1, self._spec.raw_action_dim)

    def _statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        statistics = self._spec.normalization
        if statistics is None:
            raise FailedPreconditionError(
                f"model {self._spec.name} publishes no action statistics; map raw actions, with normalized=False",
                reason=Reason.NO_ACTION_NORMALIZATION,
            )
        return np.array(statistics.action_mean), np.array(statistics.action_std)

    def _common_length(self, plans: Sequence[Sequence[object]]) -> int:
        lengths = {len(plan) for plan in plans}
        length = lengths.pop() if len(lengths) == 1 else 0
        if not length or length % self._spec.frameskip:
            got = ", ".join(str(len(plan)) for plan in plans[:8]) or "no"
            expected = f"equally many in each, a multiple of {self._spec.frameskip}"
            raise invalid("plans", f"have {got} actions; expected {expected}", Reason.INVALID_SHAPE)
        return length

    def _values(self, action: object, where: str) -> list[float]:
        kind, parameters = _parts(action, where)
        if kind != self.family.name:
            raise invalid(where, f"is of kind {kind!r}; expected {self.family.name!r}", Reason.INVALID_VALUE)
        if set(parameters) != set(self._names):
            got = ", ".join(map(str, parameters)) or "no parameters"
            raise invalid(where, f"has {got}; expected {', '.join(self._names)}", Reason.UNKNOWN_FIELD)
        return [_number(parameters[name], f"{where}.{name}") for name in self._names]


def _family(spec: ModelSpec) -> TaskFamily:
    family = FAMILIES.get(spec.environment)
    if family is None:
        raise FailedPreconditionError(
            f"model {spec.name} publishes the environment {spec.environment!r}; known: {', '.join(FAMILIES)}",
            reason=Reason.UNKNOWN_ENVIRONMENT,
        )
    if len(family.fields) != spec.raw_action_dim:
        raise FailedPreconditionError(
            f"model {spec.name} takes {spec.raw_action_dim} numbers an action; {family.name} has {len(family.fields)}",
            reason=Reason.OTHER_ACTIONS,
        )
    return family


def _parts(action: object, where: str) -> tuple[object, Mapping[str, Any]]:
    """Kind and parameters of WorldForge's `Action`, known by these two attributes, or of its JSON."""
    if isinstance(action, Mapping):
        kind, parameters = action.get("type"), action.get("parameters")
    else:
        kind, parameters = getattr(action, "kind", None), getattr(action, "parameters", None)
    if not isinstance(parameters, Mapping):
        raise invalid(where, f"is {action!r}; expected an Action or its JSON", Reason.INVALID_TYPE)
    return kind, parameters


def _number(value: object, where: str) -> float:
    number = as_float(value, where)
    if not math.isfinite(number):
        raise invalid(where, f"is {value!r}; expected a finite number", Reason.INVALID_VALUE)
    return number
