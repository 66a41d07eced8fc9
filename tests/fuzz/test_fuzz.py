"""Hostile inputs over all methods leave a server that answers, scores right and has its memory."""

import numpy as np
import pytest

from tests.fuzz.__main__ import BOUNDS, FLAGS, GROWTH_MIB, memory_mib
from tests.fuzz.inputs import Inputs, methods
from tests.fuzz.run import fuzz
from tests.support.scenes import raw_candidates, scene
from worldforge_jepa_client import Client

INPUTS, SLOWEST_PROBE = 5000, 5.0


@pytest.fixture(scope="module")
def hardened(start_server):
    return start_server(*FLAGS, *BOUNDS)


async def test_five_thousand_inputs_do_no_harm(hardened):
    with Client(hardened.target, timeout=60) as client:
        before = client.score(**scene(), **raw_candidates()).scores
        resident = memory_mib(hardened.process.pid, "VmRSS")
        outcome = await fuzz(hardened.target, INPUTS, seed=1)
        assert outcome.wrong == []
        assert outcome.statuses.total() == INPUTS
        assert max(outcome.probes) < SLOWEST_PROBE
        assert memory_mib(hardened.process.pid, "VmHWM") - resident < GROWTH_MIB
        np.testing.assert_array_equal(client.score(**scene(), **raw_candidates()).scores, before)


def test_inputs_repeat_by_seed_and_reach_every_method():
    first, again, other = ([made.next() for _ in range(400)] for made in (Inputs(3), Inputs(3), Inputs(4)))
    assert first == again != other
    assert {made.path.rpartition("/")[2] for made in first} == {method.name for method in methods()}
