"""The models of tests/fixtures/models.json, as `python:tests.external.faulty_models:faulty,case=NAME` finds them."""

import pkgutil

import numpy as np
import torch

from tests.support import failures
from tests.support.python_models import Plain, Scorer


def faulty(case):
    """The model of that case of tests/fixtures/models.json; any other is without fault."""
    script = failures.read("models").get(case, {})
    return FaultyScorer(script["answer"]) if "answer" in script else FaultyLatents(script)


class FaultyScorer(Scorer):
    action_dim, proprio_dim = 10, 2

    def __init__(self, answer):
        self._answer = answer

    def score_actions(self, **_):
        return play(self._answer)


class FaultyLatents(Plain):
    """Does not say what actions it takes, so that it is not tried before it is served."""

    action_dim, proprio_dim = -1, 2

    def __init__(self, script):
        self._script = script

    def encode(self, obs):
        if "encode" in self._script:
            return tensors(play(self._script["encode"]))
        return {**super().encode(obs["visual"]), "proprio": obs["proprio"]}

    def unroll(self, z_ctxt, act_suffix):
        if "unroll" in self._script:
            return tensors(play(self._script["unroll"]))
        predicted = super().unroll(z_ctxt, act_suffix)["visual"]
        return {"visual": predicted, "proprio": z_ctxt["proprio"].expand(*predicted.shape[:2], -1)}


def play(notation):
    """Give what a case says, or raise it."""
    if isinstance(notation, dict) and "raises" in notation:
        raise pkgutil.resolve_name(notation["raises"])(failures.value_of(notation["with"]))
    return failures.value_of(notation)


def tensors(latents):
    if not isinstance(latents, dict):
        return latents
    return {name: torch.from_numpy(part) if isinstance(part, np.ndarray) else part for name, part in latents.items()}
