"""Planners by name: the same options on both sides of the wire."""

import dataclasses
from dataclasses import fields

import numpy as np
import pytest

from tests.support import calls
from worldforge_jepa_client.contract.spec import PlannerDefaults
from worldforge_jepa_client.contract.types import PlanCall
from worldforge_jepa_client.planning import CEM, ICEM, MPPI, PlannerOptions, make_planner
from worldforge_jepa_client.planning.methods import FALLBACK
from worldforge_jepa_client.v1 import jepa_pb2

H, A = 6, 2
METHODS = {"cem": CEM, "icem": ICEM, "mppi": MPPI}
EVERYWHERE = {
    "horizon": 3,
    "samples": 20,
    "elites": 5,
    "initial_std": [0.5, 2.0],
    "min_std": 0.1,
    "low": [-1.0],
    "high": [1.0, 2.0],
    "prior_fraction": 0.5,
    "keep_best": True,
}


def make(method="cem", initial_mean=None, rng=0, **options):
    return make_planner(method, PlannerOptions(**options), action_dim=A, rng=rng, initial_mean=initial_mean)


@pytest.mark.parametrize(("method", "kind"), METHODS.items())
def test_without_options_a_planner_has_its_own_defaults(method, kind):
    made, direct = make(method), kind(horizon=H, action_dim=A, rng=0)
    assert type(made) is kind
    for each in fields(kind):
        np.testing.assert_array_equal(getattr(made, each.name), getattr(direct, each.name))
    np.testing.assert_array_equal(made.ask(), direct.ask())


@pytest.mark.parametrize(("method", "special"), [("cem", "momentum"), ("icem", "momentum"), ("mppi", "temperature")])
def test_every_option_reaches_the_planner(method, special):
    options = {**EVERYWHERE, special: 0.25}
    planner = make(method, **options)
    assert {name: getattr(planner, name) for name in options} == options


def test_one_entry_stands_for_every_dimension():
    np.testing.assert_array_equal(make(low=[-0.1], high=0.1).ask(), make(low=-0.1, high=[0.1, 0.1]).ask())


def test_seed_and_initial_mean_reach_the_planner():
    warm = np.ones((H, A), np.float32)
    np.testing.assert_array_equal(make(initial_mean=warm).mean, warm)
    assert not np.array_equal(make(rng=1).ask(), make(rng=2).ask())


def test_options_are_those_on_the_wire():
    assert {each.name for each in fields(PlannerOptions)} == set(jepa_pb2.PlannerOptions.DESCRIPTOR.fields_by_name)


def test_every_default_said_in_the_contract_is_the_planners():
    assert (FALLBACK.horizon, FALLBACK.iterations) == (6, 30)
    assert make().horizon == 6
    for method, elites in (("cem", 10), ("icem", 10), ("mppi", None)):
        planner = make(method)
        assert (planner.samples, planner.elites) == (300, elites)
        assert (planner.initial_std, planner.min_std, planner.low, planner.high) == (1, 0, -np.inf, np.inf)
        assert (planner.prior_fraction, planner.keep_best) == (0, False)
    assert (make("cem").momentum, make("icem").momentum, make("mppi").temperature) == (0, 0.1, 1)


# The model's published settings

PUBLISHED = PlannerDefaults(
    samples=40, elites=4, iterations=5, horizon=2, executed_steps=1, initial_std=0.1, low=(-0.1,) * A, high=(0.75,) * A
)
SPEC = dataclasses.replace(calls.SPEC, planner=PUBLISHED)


def test_published_settings_share_their_names_with_the_options():
    shared = {each.name for each in fields(PlannerDefaults)} - {"executed_steps"}
    assert shared <= {each.name for each in fields(PlannerOptions)}


@pytest.mark.parametrize("method", METHODS)
def test_unset_options_are_the_models_published_ones(method):
    resolved = PlanCall(calls.call().scene, method=method).resolved(SPEC).planner
    elites = None if method == "mppi" else 4
    assert resolved == PlannerOptions(
        samples=40, elites=elites, iterations=5, horizon=2, initial_std=0.1, low=(-0.1,) * A, high=(0.75,) * A
    )


def test_an_explicit_option_wins_over_a_published_one():
    told = PlannerOptions(iterations=1, initial_std=2.0, momentum=0.5)
    resolved = PlanCall(calls.call().scene, planner=told).resolved(SPEC).planner
    assert (resolved.iterations, resolved.initial_std, resolved.momentum) == (1, 2.0, 0.5)
    assert (resolved.horizon, resolved.samples) == (2, 40)


def test_without_published_settings_the_fallbacks_hold():
    assert PlanCall(calls.call().scene).resolved(calls.SPEC).planner == FALLBACK


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("cem", {"temperature": 0.5}, "temperature: got 0.5, expected None: cem has no such option"),
        ("icem", {"temperature": 0.5}, "temperature: got 0.5, expected None: icem has no such option"),
        ("mppi", {"momentum": 0.5}, "momentum: got 0.5, expected None: mppi has no such option"),
        ("mppi", {"momentum": 0.0}, "momentum: got 0.0, expected None: mppi has no such option"),
        ("cmaes", {}, "method: got 'cmaes', expected one of cem, icem, mppi"),
        ("cem", {"iterations": 0}, "iterations: got 0, expected at least 1"),
        ("cem", {"horizon": 0}, "horizon: got 0, expected at least 1"),
        ("mppi", {"elites": 301}, "elites: got 301, expected 1 to samples = 300"),
    ],
)
def test_a_wrong_option_is_named(method, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make(method, **options)
