"""The verdict as a function of its evidence, and the statistics below it."""

from dataclasses import replace

import numpy as np
import pytest

from worldforge_jepa_client.diagnosis.logs.windows import Hypothesis
from worldforge_jepa_client.diagnosis.measures import Prediction, Ranks, Reach
from worldforge_jepa_client.diagnosis.statistics import Estimate, estimate, kendall_tau, ranks_of_first, sign_flip_p
from worldforge_jepa_client.diagnosis.verdict import Evidence, judge


def exactly(mean, episodes=20):
    return Estimate(mean, mean, mean, episodes)


def ranks(mean, episodes=20):
    return Ranks(*[exactly(mean, episodes)] * 3)


def predicted(own, sensitivity):
    return Prediction([exactly(own)], [exactly(2.0)], [exactly(sensitivity)])


FIT = Evidence(
    ranks=ranks(0.02),
    control=ranks(0.5),
    wrong=None,
    out_of_range=None,
    searched=True,
    reach=[],
    horizon=3,
    prediction=predicted(0.1, 1.0),
    ignores=False,
)
CHANCE = replace(FIT, ranks=ranks(0.5))
MIRRORED = Hypothesis("frames: mirrored", "flip", "frame[:, :, ::-1]")
VERDICTS = {
    "fit": FIT,
    "inputs look wrong: frames: mirrored": replace(FIT, wrong=MIRRORED),
    "no verdict: 11 episodes, and at least 12 are needed": replace(FIT, ranks=ranks(0.02, 11)),
    "no verdict: with the goals of other episodes the true actions rank as well": replace(FIT, control=ranks(0.1)),
    "no verdict: the bound on calls or bytes was reached before the controls were done": replace(FIT, searched=False),
    "weak beyond step 2": replace(CHANCE, reach=[Reach("l2", 0.1, 2, exactly(0.1), exactly(0.5))]),
    "no better than chance: the model predicts the present": replace(CHANCE, prediction=predicted(1.0, 0.0)),
    "no better than chance: the model ignores its actions": replace(CHANCE, prediction=predicted(1.5, 0.0)),
    "no better than chance: the model predicts worse than the present": replace(CHANCE, prediction=predicted(1.5, 1.0)),
    "no better than chance: the model's distance to the goal orders nothing": CHANCE,
    "no better than chance: the scores ignore the actions": replace(CHANCE, prediction=None, ignores=True),
    "no better than chance: the scores do not follow the actions": replace(CHANCE, prediction=None),
}


@pytest.mark.parametrize("said", VERDICTS)
def test_verdict(said):
    found = judge(VERDICTS[said])
    assert found.text == said
    assert found.fit == (said == "fit")


def test_statistics():
    costs = np.array([[1.0, 2, 3, 0.5], [5.0, 5, 5, 5]])
    np.testing.assert_allclose(ranks_of_first(costs), [1 / 3, 0.5])
    episodes = np.repeat(np.arange(20), 5)
    ones = estimate(np.ones(100), episodes, 0)
    assert (ones.mean, ones.low, ones.high, ones.episodes) == (1, 1, 1, 20)
    assert sign_flip_p(np.ones(100), episodes, 0) < 1e-4
    assert 0.3 < sign_flip_p(np.tile([1.0, -1, 1, -1, 0], 20), episodes, 0) <= 1
    assert kendall_tau(np.arange(5), np.arange(5)) == 1
