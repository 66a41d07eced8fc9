"""Candidates to actions and back: which entry is which field, and that nothing is lost on the way."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from examples.two_room.env import MAX_STEP, Layout, roll_batch
from worldforge_jepa_client.actions import ActionMapping
from worldforge_jepa_client.contract.spec import Normalization
from worldforge_jepa_client.errors import FailedPreconditionError, InvalidArgumentError
from worldforge_jepa_client.provider.task_families import FAMILIES
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.native import tiny

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "worldforge.md"
TINY = tiny.load("cpu", "tiny").spec


def spec_of(entry):
    """Return the action part of the spec that a model of the catalog publishes."""
    statistics = entry.environment.normalization
    return replace(
        TINY,
        environment=entry.environment.name,
        raw_action_dim=len(statistics.action_mean),
        frameskip=entry.environment.frameskip,
        normalization=statistics,
    )


SPECS = {entry.environment.name: spec_of(entry) for entry in CATALOG.values()} | {"two_room": TINY}
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def specs_and_candidates(draw, elements=FLOAT32):
    spec = SPECS[draw(st.sampled_from(sorted(SPECS)))]
    samples, horizon = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    return spec, draw(arrays.arrays(np.float32, (1, samples, horizon, spec.action_dim), elements=elements))


def bits(array):
    return (array + np.float32(0)).view(np.uint32)  # 0 and -0 are one number


def test_every_family_has_a_model_and_every_model_a_family():
    assert sorted(SPECS) == sorted(FAMILIES)


def test_the_documentation_lists_exactly_these_fields():
    rows = [f"| {family.name} | {' | '.join(field)} |" for family in FAMILIES.values() for field in family.fields]
    text = DOCUMENTATION.read_text()
    assert "\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n" in text
    for family in FAMILIES.values():
        assert (f"{family.step_seconds} s in {family.name}" in text) == (family.step_seconds is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_packed_action_is_one_action_for_each_raw_step_oldest_first(name):
    spec, fields = SPECS[name], [field.name for field in FAMILIES[name].fields]
    packed = np.arange(2 * 2 * spec.action_dim, dtype=np.float32).reshape(1, 2, 2, spec.action_dim)
    plans = ActionMapping(spec).actions(packed, normalized=False)
    assert [len(plan) for plan in plans] == [2 * spec.frameskip] * 2
    flat = [action["parameters"][field] for plan in plans for action in plan for field in fields]
    assert flat == list(range(packed.size))
    assert {action["type"] for plan in plans for action in plan} == {name}


def test_normalized_candidates_become_raw_actions_with_the_published_statistics():
    mapping = ActionMapping(SPECS["metaworld"])
    statistics = SPECS["metaworld"].normalization
    ((first, *_),) = mapping.actions(np.ones((1, 1, 20), np.float32))
    expected = [mean + std for mean, std in zip(statistics.action_mean, statistics.action_std, strict=True)]
    assert list(first["parameters"]) == ["dx", "dy", "dz", "gripper"]
    assert list(first["parameters"].values()) == pytest.approx(expected, rel=1e-15)


def test_actions_do_in_the_environment_what_the_candidates_stand_for():
    start, layout = np.array([[12.0, 32.0]], np.float32), np.array([Layout(42, 32)])
    packed = np.random.default_rng(0).normal(0, 0.5, (1, 1, 2, 10)).astype(np.float32)
    (plan,) = ActionMapping(TINY).actions(packed)
    moves = np.array([[action["parameters"]["dx"], action["parameters"]["dy"]] for action in plan])
    assert np.abs(moves).max() < MAX_STEP
    end = roll_batch(start, packed[0] * 1.5, layout)[0, -1]
    np.testing.assert_allclose(start[0] + moves.sum(0), end, rtol=1e-5)


# What is lost on the way


@given(specs_and_candidates())
def test_raw_candidates_come_back_bit_by_bit(case):
    spec, candidates = case
    mapping = ActionMapping(spec)
    plans = json.loads(json.dumps(mapping.actions(candidates, normalized=False)))
    assert np.array_equal(bits(mapping.candidates(plans, normalized=False)), bits(candidates))


@given(specs_and_candidates())
def test_normalized_candidates_come_back_bit_by_bit_save_tiny_ones(case):
    spec, candidates = case
    mapping, statistics = ActionMapping(spec), spec.normalization
    plans = json.loads(json.dumps(mapping.actions(candidates)))
    returned = mapping.candidates(plans)
    offset = np.abs(np.divide(statistics.action_mean, statistics.action_std))
    offset = np.tile(offset, spec.frameskip)
    exact = np.abs(candidates) >= 1e-6 * offset
    assert np.array_equal(bits(returned)[exact], bits(candidates)[exact])
    assert (np.abs(returned - candidates) <= 1e-15 * offset).all(where=~exact)


@given(specs_and_candidates(st.floats(-1e6, 1e6, width=32)))
def test_actions_come_back_within_float32(case):
    spec, candidates = case
    mapping = ActionMapping(spec)
    plans = mapping.actions(candidates)
    again = mapping.actions(mapping.candidates(plans))
    assert flat(again) == pytest.approx(flat(plans), rel=1e-6, abs=1e-6)


def flat(plans):
    return [value for plan in plans for action in plan for value in action["parameters"].values()]


def test_objects_with_kind_and_parameters_are_actions_too():
    mapping = ActionMapping(TINY)
    candidates = np.random.default_rng(0).normal(size=(1, 3, 2, 10)).astype(np.float32)
    plans = mapping.actions(candidates, make=lambda kind, parameters: SimpleNamespace(kind=kind, parameters=parameters))
    assert isinstance(plans[0][0], SimpleNamespace)
    assert np.array_equal(mapping.candidates(plans), candidates)


# What is refused


def plain(**parameters):
    return {"type": "two_room", "parameters": parameters}


STEP = plain(dx=0.0, dy=1)


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ([], "plans: have no actions; expected equally many in each, a multiple of 5"),
        ([[]], "plans: have 0 actions"),
        ([[STEP] * 4], "plans: have 4 actions"),
        ([[STEP] * 5, [STEP] * 10], "plans: have 5, 10 actions"),
        ([[STEP] * 4 + [plain(dx=0.0)]], r"plans\[0\]\[4\]: has dx; expected dx, dy"),
        ([[STEP] * 4 + [plain(dx=0.0, dy=0.0, dz=0.0)]], r"plans\[0\]\[4\]: has dx, dy, dz; expected dx, dy"),
        ([[STEP] * 4 + [plain()]], r"plans\[0\]\[4\]: has no parameters"),
        ([[STEP] * 4 + [{"type": "pusht", "parameters": {}}]], r"plans\[0\]\[4\]: is of kind 'pusht'; expected 'two_"),
        ([[STEP] * 4 + [3]], r"plans\[0\]\[4\]: is 3; expected an Action or its JSON"),
        ([[STEP] * 4 + [plain(dx=math.nan, dy=0.0)]], r"plans\[0\]\[4\].dx: is nan; expected a finite number"),
        ([[STEP] * 4 + [plain(dx=10**400, dy=0.0)]], r"plans\[0\]\[4\].dx: is 1000.*; expected a finite number"),
        ([[STEP] * 4 + [plain(dx=True, dy=0.0)]], r"plans\[0\]\[4\].dx: is True; expected a number"),
        ([[STEP] * 4 + [plain(dx="1", dy=0.0)]], r"plans\[0\]\[4\].dx: is '1'; expected a number"),
        ([[STEP] * 4 + [plain(dx=1e300, dy=0.0)]], "plans: hold numbers beyond float32"),
    ],
)
def test_malformed_plans_are_refused(plans, message):
    with pytest.raises(InvalidArgumentError, match=message):
        ActionMapping(TINY).candidates(plans)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (np.zeros((1, 2, 3, 9)), r"candidates: has shape \(1, 2, 3, 9\); expected \(1, S, H, 10\)"),
        (np.zeros((2, 2, 3, 10)), r"candidates: has shape \(2, 2, 3, 10\)"),
        (np.full((1, 1, 1, 10), np.inf), "candidates: holds NaN or infinite"),
        ([[1.0], [1.0, 2.0]], "candidates: is not a rectangular array"),
    ],
)
def test_malformed_candidates_are_refused(candidates, message):
    with pytest.raises(InvalidArgumentError, match=message):
        ActionMapping(TINY).actions(candidates)


def test_without_statistics_there_are_only_raw_actions():
    mapping = ActionMapping(replace(TINY, normalization=None))
    raw = np.ones((1, 1, 1, 10), np.float32)
    plans = mapping.actions(raw, normalized=False)
    assert np.array_equal(mapping.candidates(plans, normalized=False), raw)
    for translate in (lambda: mapping.actions(raw), lambda: mapping.candidates(plans)):
        with pytest.raises(FailedPreconditionError, match="no action statistics"):
            translate()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": ""}, "publishes the environment ''; known: pusht, wall"),
        ({"raw_action_dim": 3, "normalization": Normalization((0.0,) * 3, (1.0,) * 3)}, "takes 3 numbers an action"),
    ],
)
def test_a_model_of_unknown_actions_is_refused(change, message):
    with pytest.raises(FailedPreconditionError, match=message):
        ActionMapping(replace(TINY, **change))


def test_the_server_publishes_all_that_the_mapping_needs(client):
    assert ActionMapping(client.model()).family.name == "two_room"
