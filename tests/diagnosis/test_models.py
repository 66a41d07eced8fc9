"""Models that are not fit to plan with are told apart; models that publish or give little are diagnosed all the same."""

from dataclasses import replace

import numpy as np
import pytest

from worldforge_jepa_client.diagnosis import Settings, diagnose

FEW = Settings(windows=12, samples=8, horizon=2, most_calls=180)
"""As many calls as a verdict takes; that of a useful horizon takes more."""
UNFIT = {
    "ignores_actions": "no better than chance: the model ignores its actions",
    "predicts_the_present": "no better than chance: the model predicts the present",
    "random_weights": "no better than chance: the model predicts worse than the present",
    "fades_after_two_steps": "weak beyond step 2",
}


@pytest.mark.parametrize("model", UNFIT)
def test_unfit_models_are_told_from_a_fit_one_and_from_each_other(client, episodes, model):
    fades = {"horizon": 3, "most_calls": 2000} if model == "fades_after_two_steps" else {}
    found = diagnose(client, episodes, replace(FEW, model=model, **fades))
    assert found.verdict.text == found.figures["verdict"] == UNFIT[model]
    assert found.figures["cause"] == found.verdict.cause == (UNFIT[model].partition(": ")[2] or None)


def test_a_model_that_only_scores_is_diagnosed_without_latents(client, episodes):
    found = diagnose(client, episodes, replace(FEW, model="scores_only"))
    assert found.verdict.fit
    assert found.figures["measures"]["prediction"] is None
    assert "prediction: the model gives no latents" in found.figures["left_out"]


def test_a_model_that_publishes_neither_statistics_nor_its_actions_is_diagnosed(client, episodes):
    normalized = [{**episode, "actions": episode["actions"] / 1.5} for episode in episodes]
    found = diagnose(client, normalized, replace(FEW, model="Bare", frameskip=5))
    assert found.figures["model"]["normalization"] is None
    assert found.figures["model"]["raw_action_dim"] == -1
    assert found.verdict.fit
    logged = np.concatenate([episode["actions"] for episode in normalized])
    assert found.figures["recommendation"]["initial_std"] == pytest.approx(np.sqrt(logged.var(axis=0).mean()), rel=1e-3)
