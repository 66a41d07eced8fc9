"""Runs a diagnosis from beginning to end: the measures that every verdict needs come first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.diagnosis import measures, verdict
from worldforge_jepa_client.diagnosis.figures import initial_std, logged_statistics, plain
from worldforge_jepa_client.diagnosis.hypotheses import hypotheses, out_of_range
from worldforge_jepa_client.diagnosis.logs.episodes import Array, Broken, Episode, Keys, check_episodes
from worldforge_jepa_client.diagnosis.logs.sources import Source, read_source
from worldforge_jepa_client.diagnosis.logs.windows import Hypothesis, Shape, Windows, draw_foreign, draw_windows
from worldforge_jepa_client.diagnosis.probe import Budget, OutOfBudgetError, Probe, Progress
from worldforge_jepa_client.diagnosis.search import best_of, try_hypotheses
from worldforge_jepa_client.diagnosis.statistics import TIE
from worldforge_jepa_client.errors import FailedPreconditionError, invalid
from worldforge_jepa_client.inputs.scalars import as_int
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.sync.client import Client

_R = TypeVar("_R")
DEFAULT_HORIZON = 6


@dataclass(frozen=True)
class Settings:
    """The options of a diagnosis.

    Attributes:
        model: a served model's name; empty is the server's default.
        windows: W, how many to draw of all episodes.
        samples: S, the true actions and S - 1 foreign ones.
        horizon: H in model steps; None is the model's published planner's, or 6, or what the episodes have.
        seed: equal seeds give equal figures.
        keys: names of the episodes' arrays.
        frameskip: of a model that does not publish it.
        actions_are_normalized: the logged actions are sent as normalized ones, as a client would that says so.
        most_calls: bound on calls.
        most_bytes: bound on bytes of tensors, both ways; the latents of the last call may pass it.
    """

    model: str = ""
    windows: int = 200
    samples: int = 64
    horizon: int | None = None
    seed: int = 0
    keys: Keys = field(default_factory=Keys)
    frameskip: int | None = None
    actions_are_normalized: bool = False
    most_calls: int = 20_000
    most_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        for name, least in (("windows", 2), ("samples", 2), ("most_calls", 1), ("most_bytes", 1)):
            as_int(getattr(self, name), name, min=least)
        for name in ("horizon", "frameskip"):
            if getattr(self, name) is not None:
                as_int(getattr(self, name), name, min=1)


@dataclass(frozen=True)
class Diagnosis:
    """The verdict, and every figure behind it as JSON."""

    verdict: verdict.Verdict
    figures: dict[str, Any]


def diagnose(
    client: Client, episodes: Source, settings: Settings | None = None, progress: Progress = lambda *_: None
) -> Diagnosis:
    """Tell whether a served model and the inputs it is sent are fit to plan with, from logged episodes.

    Args:
        client: connected to the server.
        episodes: "npz:DIR", "hdf5:FILE", "lerobot:DIR", or mappings of the arrays `frames` (T + 1, 3, height, width),
            `actions` (T, a) and, where the model takes it, `proprio` (T + 1, P).
        settings: see `Settings`.
        progress: told how far it is.

    Raises:
        InvalidArgumentError: the source, a setting, or not two of the episodes can be used.
        FailedPreconditionError: a package that the source needs is not installed.
        JepaError: a call failed.
    """
    told = settings or Settings()
    spec = client.model(told.model)
    shape = Shape(_horizon(told, spec), told.frameskip or max(1, spec.frameskip))
    good, broken = check_episodes(read_source(episodes), told.keys, spec, shape.steps)
    if len(good) < 2:
        said = "; ".join(f"{each.name}: {each.problem}" for each in broken[:3])
        raise invalid("episodes", f"{len(good)} can be used, at least 2 are needed. {said}", Reason.INVALID_VALUE)
    windows = draw_windows(good, shape, told.windows, told.seed)
    normalized = told.actions_are_normalized or spec.normalization is None
    budget = Budget(told.most_calls, told.most_bytes)
    with Probe(client, spec, actions_are_normalized=normalized, budget=budget, progress=progress) as probe:
        found = _Found(probe, windows, told, normalized)
        found.measure()
    return _concluded(found, good, broken)


def _horizon(told: Settings, spec: ModelSpec) -> int:
    horizon = told.horizon or (spec.planner.horizon if spec.planner else DEFAULT_HORIZON)
    return min(horizon, spec.limits.max_horizon) if spec.limits.max_horizon and told.horizon is None else horizon


class _Found:
    """The measurements; one that the bounds or the model left out is None and named in `left_out`."""

    def __init__(self, probe: Probe, windows: Windows, told: Settings, normalized: bool) -> None:
        self.probe, self.windows, self.told, self.normalized = probe, windows, told, normalized
        self.left_out: list[str] = []
        self.out_of_range = out_of_range(windows.episodes)

    def measure(self) -> None:
        """Measure everything, in order of need."""
        probe, windows, seed = self.probe, self.windows, self.told.seed
        episodes, others = list(windows.episodes), self.told.samples - 1
        few = windows.first(measures.FEW_WINDOWS)
        foreign, goals = draw_foreign(windows, others, seed + 1), draw_foreign(windows, 1, seed + 2)[:, 0]
        wrong = hypotheses(episodes, probe.spec, windows.shape, self.normalized)
        candidates = windows.logged_actions()[foreign]
        self.costs = self._try("ranks", lambda: probe.rank("as sent", windows, candidates))
        self.control = self._try("control", lambda: probe.rank("with other goals", windows, candidates, goals=goals))
        self.prediction = self._try("prediction", lambda: measures.measure_prediction(probe, few, seed + 3))
        self.tried = self._try("hypotheses", lambda: try_hypotheses(probe, windows, wrong, seed + 5))
        self.gaussian = self._try("gaussian", lambda: measures.measure_gaussian(probe, few, others, seed + 4))
        self.reach = self._try("reach", lambda: measures.measure_reach(probe, windows, seed + 6))
        self.repeats = self._try("repeats", lambda: measures.measure_repeats(probe, windows))
        self.order = self._try("order", lambda: measures.measure_order(probe, episodes, seed))
        self.landscapes = self._try("landscapes", lambda: measures.measure_landscapes(probe, windows, (0, 1)))

    def ranks(self, costs: Array | None) -> measures.Ranks | None:
        """The ranking of the true actions among foreign ones."""
        return None if costs is None else measures.summarize(costs, self.windows.episode, self.told.seed)

    def evidence(self, own: tuple[str, float], wrong: Hypothesis | None) -> verdict.Evidence:
        """Return the facts that the verdict rests on."""
        return verdict.Evidence(
            ranks=self.ranks(self.costs),
            control=self.ranks(self.control),
            wrong=wrong,
            out_of_range=self.out_of_range,
            searched=self.tried is not None,
            reach=self.own_reach(own),
            horizon=self.windows.shape.horizon,
            prediction=self.prediction,
            ignores=self.ignores,
        )

    def own_reach(self, own: tuple[str, float]) -> list[measures.Reach]:
        """The ranking by horizon in the model's own objective and weight."""
        return [each for each in self.reach or [] if (each.objective, each.weight) == own]

    def figures(self, own: tuple[str, float]) -> dict[str, Any]:
        """Every measure."""
        return {
            "among_other_windows": self.ranks(self.costs),
            "among_gaussian": self.gaussian and self.gaussian[0],
            "control_other_goal": self.ranks(self.control),
            "control_other_goal_gaussian": self.gaussian and self.gaussian[1],
            "prediction": self.prediction,
            "order": self.order,
            "repeats": self.repeats,
            "reach": self.reach,
            "useful_horizon": verdict.useful_horizon(self.own_reach(own)) if self.reach else None,
        }

    @property
    def ignores(self) -> bool:
        """True if in every window all candidates cost the same."""
        if self.costs is None:
            return False
        spread = self.costs.max(axis=1) - self.costs.min(axis=1)
        return bool((spread <= TIE * np.abs(self.costs).max(axis=1)).all())

    def _try(self, name: str, measure: Callable[[], _R]) -> _R | None:
        if self.out_of_range is not None:
            self.left_out.append(f"{name}: the frames' values cannot be of 0..255")
            return None
        if name == "landscapes" and self.windows.episodes[0].actions.shape[1] < 2:
            self.left_out.append(f"{name}: actions have one dimension")
            return None
        try:
            return measure()
        except OutOfBudgetError:
            self.left_out.append(f"{name}: the bound on calls or bytes is reached")
        except FailedPreconditionError as error:
            if error.reason != Reason.NO_LATENTS:
                raise
            self.left_out.append(f"{name}: the model gives no latents")
        return None


def _concluded(found: _Found, good: list[Episode], broken: list[Broken]) -> Diagnosis:
    spec, shape, best = found.probe.spec, found.windows.shape, best_of(found.tried or [])
    wrong = found.out_of_range or (best.hypothesis if best else None)
    own = (spec.objective.value, float(spec.proprio_weight) if spec.proprio_dim else 0.0)
    judged = verdict.judge(found.evidence(own, wrong))
    std = initial_std(good, spec, found.normalized)
    figures = {
        "verdict": judged.text,
        "hypothesis": judged.hypothesis,
        "cause": judged.cause,
        "remedy": wrong.remedy if wrong and judged.hypothesis else None,
        "model": spec,
        "settings": found.told,
        "shape": {"horizon": shape.horizon, "frameskip": shape.frameskip, "windows": len(found.windows)},
        "episodes": {"used": len(good), "broken": broken},
        "measures": found.figures(own),
        "hypotheses": found.tried,
        "statistics": logged_statistics(good, spec),
        "landscapes": found.landscapes,
        "recommendation": verdict.recommend(found.reach or [], own, std),
        "budget": found.probe.budget,
        "left_out": found.left_out,
    }
    return Diagnosis(judged, plain(figures))
