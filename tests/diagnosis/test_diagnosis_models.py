"""Models that are not fit to plan with are told apart; models that publish or give little are diagnosed all the same."""

from dataclasses import replace

import numpy as np
import pytest

from examples.two_room.logs import log_episodes
from tests.diagnosis.diagnosis_faults import small_measures  # noqa: F401
from worldforge_jepa_client import Client
from worldforge_jepa_client.diagnosis import Settings, diagnose

pytestmark = pytest.mark.usefixtures("small_measures")
FEW = Settings(windows=24, samples=10, horizon=2, most_calls=700)
"""As many calls as a verdict takes; that of a useful horizon takes more."""
NAMES = ("ignores_actions", "predicts_the_present", "random_weights", "fades_after_two_steps", "scores_only", "Bare")
UNFIT = {
    "ignores_actions": "no better than chance: the model ignores its actions",
    "predicts_the_present": "no better than chance: the model predicts the present",
    "random_weights": "no better than chance: the model predicts worse than the present",
    "fades_after_two_steps": "weak beyond step 2",
}


@pytest.fixture(scope="module")
def episodes():
    return list(log_episodes(24, 50, 0))


@pytest.fixture(scope="module")
def served(start_server):
    models = [f"--model={name}=python:tests.diagnosis.diagnosis_models:{name}" for name in NAMES]
    with Client(start_server("--model", "tiny", *models, "--threads", "1").target, timeout=60) as client:
        yield client


@pytest.mark.parametrize("model", UNFIT)
def test_unfit_models_are_told_apart(served, episodes, model):
    fades = {"horizon": 3, "most_calls": 20_000} if model == "fades_after_two_steps" else {}
    found = diagnose(served, episodes, replace(FEW, model=model, **fades))
    assert found.verdict.text == found.figures["verdict"] == UNFIT[model]
    assert found.figures["cause"] == found.verdict.cause == (UNFIT[model].partition(": ")[2] or None)


def test_a_model_that_only_scores_is_diagnosed_without_latents(served, episodes):
    found = diagnose(served, episodes, replace(FEW, model="scores_only"))
    assert found.verdict.fit
    assert found.figures["measures"]["prediction"] is None
    assert "prediction: the model gives no latents" in found.figures["left_out"]


def test_a_model_that_publishes_neither_statistics_nor_its_actions_is_diagnosed(served, episodes):
    normalized = [{**episode, "actions": episode["actions"] / 1.5} for episode in episodes]
    found = diagnose(served, normalized, replace(FEW, model="Bare", frameskip=5))
    assert found.figures["model"]["normalization"] is None
    assert found.figures["model"]["raw_action_dim"] == -1
    assert found.verdict.fit
    logged = np.concatenate([episode["actions"] for episode in normalized])
    assert found.figures["recommendation"]["initial_std"] == pytest.approx(np.sqrt(logged.var(axis=0).mean()), rel=1e-3)
