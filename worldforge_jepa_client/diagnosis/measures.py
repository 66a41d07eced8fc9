"""The measures of a model on windows, each beside its control.

Letters: W windows, S candidates, H horizon, A packed action dim, N tokens, D latent dim.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.diagnosis.logs.episodes import Array, Episode, Ints
from worldforge_jepa_client.diagnosis.logs.windows import Windows, as_pixels, draw_foreign
from worldforge_jepa_client.diagnosis.probe import Probe
from worldforge_jepa_client.diagnosis.statistics import Estimate, estimate, kendall_tau, pooled_auroc, ranks_of_first

HORIZON_WINDOWS, HORIZON_SAMPLES = 24, 16
FEW_WINDOWS = 60
ORDER_FRAMES = 16
REPEATS = 8
GRID, GRID_REACH = 15, 2.0
LANDSCAPES = 4


class Ranks(NamedTuple):
    """Rank, top-1 and AUROC of the true actions among others."""

    rank: Estimate
    top1: Estimate
    auroc: Estimate


class Prediction(NamedTuple):
    """Errors over persistence and sensitivity to actions, one estimate a step."""

    own: list[Estimate]
    foreign: list[Estimate]
    sensitivity: list[Estimate]


def summarize(costs: Array, episodes: Ints, seed: int) -> Ranks:
    """Return the ranking of the first candidate of each window, of costs (W, S)."""
    ranks = ranks_of_first(costs)
    top = np.where(np.isnan(ranks), np.nan, ranks == 0)
    return Ranks(*(estimate(values, episodes, seed) for values in (ranks, top, pooled_auroc(costs))))


def measure_gaussian(probe: Probe, windows: Windows, samples: int, seed: int) -> tuple[Ranks, Ranks]:
    """Rank the true actions among Gaussian ones; beside it, the same with the goals of other episodes.

    Each entry is drawn on its own, with the mean and deviation that it has in the log.
    """
    logged = windows.logged_actions()
    noise = np.random.default_rng(seed).standard_normal((len(windows), samples, *logged.shape[1:]))
    drawn = (logged.mean(axis=0) + noise * logged.std(axis=0)).astype(np.float32)
    goals = draw_foreign(windows, 1, seed + 1)[:, 0]
    own, control = (probe.rank("Gaussian actions", windows, drawn, goals=each) for each in (None, goals))
    return summarize(own, windows.episode, seed), summarize(control, windows.episode, seed)


def measure_prediction(probe: Probe, windows: Windows, seed: int) -> Prediction:
    """Compare predicted with encoded latents at each step, against "nothing changes"."""
    foreign = windows.logged_actions()[draw_foreign(windows, 1, seed)[:, 0]]
    errors = []
    for index in range(len(windows)):
        sent = windows.logged(index)
        predicted = probe.unroll(sent, np.stack([sent.actions, foreign[index]]))
        truth = probe.encode(_frames(windows, index))
        present = _gap(truth[1:], truth[0])
        own, other = (_gap(predicted[:, candidate], truth[1:]) for candidate in (0, 1))
        errors.append((own, other, _gap(predicted[:, 0], predicted[:, 1]), present))
    own, other, between, present = (np.array(part) for part in zip(*errors, strict=True))
    episodes = windows.episode
    return Prediction(
        *(
            [estimate(part[:, step], episodes, seed, present[:, step]) for step in range(present.shape[1])]
            for part in (own, other, between)
        )
    )


def measure_order(probe: Probe, episodes: list[Episode], seed: int) -> dict[str, Estimate]:
    """Return Kendall's tau of latent distance to an episode's last frame with what should order it.

    With the steps to go; where there is proprio, with its distance; and, as control, to another episode's last frame.
    """
    latents, spreads = [], []
    for episode in episodes:
        at = np.unique(np.linspace(0, episode.steps, ORDER_FRAMES).astype(int))
        latents.append(probe.encode(_at(episode, at)))
        spreads.append(None if episode.proprio is None else _gap(episode.proprio[at], episode.proprio[at[-1]]))
    pairs = list(enumerate(latents))
    found = {
        "steps": [kendall_tau(_gap(own[:-1], own[-1]), -np.arange(len(own) - 1)) for _, own in pairs],
        "control": [kendall_tau(_gap(own[:-1], latents[i - 1][-1]), -np.arange(len(own) - 1)) for i, own in pairs],
    }
    if spreads[0] is not None:
        found["proprio"] = [kendall_tau(_gap(own[:-1], own[-1]), np.asarray(spreads[i])[:-1]) for i, own in pairs]
    return {name: estimate(np.array(taus), np.arange(len(taus)), seed) for name, taus in found.items()}


class Reach(NamedTuple):
    """The ranking by objective and proprio weight at one horizon, beside that with the goals of other episodes."""

    objective: str
    weight: float
    step: int
    rank: Estimate
    control: Estimate


def measure_reach(probe: Probe, windows: Windows, seed: int) -> list[Reach]:
    """Rank at each horizon, for each objective and a few proprio weights, on few windows."""
    spec, found = probe.spec, []
    weights = sorted({0.0, spec.proprio_weight, 10 * spec.proprio_weight}) if spec.proprio_dim else [0.0]
    few = windows.first(HORIZON_WINDOWS)
    foreign = draw_foreign(few, HORIZON_SAMPLES - 1, seed)
    goals = draw_foreign(few, 1, seed + 1)[:, 0]
    for step in range(1, windows.shape.horizon + 1):
        cut = windows.first(HORIZON_WINDOWS, step)
        others = cut.logged_actions()[foreign]
        for objective in Objective:
            for weight in weights:
                options: dict[str, Any] = {"objective": objective, "proprio_weight": weight}
                stage = f"horizon {step}"
                own, control = (probe.rank(stage, cut, others, goals=goal, **options) for goal in (None, goals))
                ranks = (estimate(ranks_of_first(costs), cut.episode, seed) for costs in (own, control))
                found.append(Reach(objective.value, weight, step, *ranks))
    return found


def measure_repeats(probe: Probe, windows: Windows) -> float:
    """Return the largest difference of costs asked for twice, as a share of the costs' size."""
    few = windows.first(REPEATS)
    others = np.tile(few.logged_actions(), (len(few), 1, 1, 1))
    first, second = (probe.rank("repeats", few, others) for _ in range(2))
    return float(np.abs(first - second).max() / max(np.abs(first).max(), 1e-30))


class Landscape(NamedTuple):
    """Costs (GRID, GRID) around a window's true action, offsets in deviations of the logged actions, and the dims."""

    costs: Array
    offsets: Array
    dims: tuple[int, int]


def measure_landscapes(probe: Probe, windows: Windows, dims: tuple[int, int]) -> list[Landscape]:
    """Score one model step's actions, two dims of them moved over a grid, for a few windows."""
    near = windows.first(LANDSCAPES, 1)
    raw = np.concatenate([episode.actions for episode in windows.episodes])
    offsets = np.linspace(-GRID_REACH, GRID_REACH, GRID)
    found = []
    for index in range(len(near)):
        sent = near.logged(index)
        steps = np.tile(sent.actions.reshape(1, near.shape.frameskip, -1), (GRID * GRID, 1, 1))
        for dim, moves in zip(dims, np.meshgrid(offsets, offsets), strict=True):
            steps[:, :, dim] += (moves.ravel() * raw[:, dim].std())[:, None]
        costs = probe.costs(sent, steps.reshape(GRID * GRID, 1, -1).astype(np.float32))
        found.append(Landscape(costs.reshape(GRID, GRID), offsets, dims))
    return found


def _frames(windows: Windows, index: int) -> dict[str, Array]:
    episode, start = windows.episodes[windows.episode[index]], windows.starts[index]
    return _at(episode, start + np.arange(windows.shape.horizon + 1) * windows.shape.frameskip)


def _at(episode: Episode, steps: Array) -> dict[str, Array]:
    visual = np.stack([as_pixels(np.asarray(episode.frames[step])) for step in steps])
    return {"visual": visual} if episode.proprio is None else {"visual": visual, "proprio": episode.proprio[steps]}


def _gap(a: Array, b: Array) -> Array:
    """Mean squared difference, over all but the first axis."""
    squares = np.square(a - b)
    means: Array = squares.reshape(len(squares), -1).mean(axis=1)
    return means
