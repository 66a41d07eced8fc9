"""Where candidates lead in a frame, for the environments whose actions are displacements in it."""

import dataclasses

import numpy as np

from tests.support.calls import SPEC
from worldforge_jepa_client.actions import ActionMapping
from worldforge_jepa_client.contract.spec import Normalization

STATISTICS = Normalization((1.0, 0.0), (2.0, 1.0), (0.0, 0.0), (1.0, 1.0))


def mapping(environment, raw_action_dim=2):
    spec = dataclasses.replace(
        SPEC, environment=environment, raw_action_dim=raw_action_dim, frameskip=2, normalization=STATISTICS
    )
    return ActionMapping(spec)


def test_displacements_add_up_in_px_of_the_frame():
    candidate = np.array([[[0, 1, 0.5, -1]]], np.float32)  # one step of two raw actions: (1, 1), (2, -1) px of 64
    paths = mapping("two_room").paths(candidate, np.array([10, 20]), width=128)
    np.testing.assert_allclose(paths, [[[10, 20], [12, 22], [16, 20]]])


def test_commands_beyond_the_limit_are_clipped():
    paths = mapping("two_room").paths(np.full((1, 1, 4), 100, np.float32), np.zeros(2), width=64)
    np.testing.assert_allclose(paths[0, -1], [5.0, 5.0])


def test_forces_have_no_path():
    assert mapping("pointmaze").paths(np.zeros((1, 1, 4), np.float32), np.zeros(2), width=64) is None
