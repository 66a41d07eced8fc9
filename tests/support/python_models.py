"""Models of many shapes, as `python:tests.support.python_models:NAME` finds them."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Scorer:
    """Scores by the first entry of each candidate's last action, and remembers what it was told."""

    action_dim = 2

    def __init__(self, **response):
        self.response, self.told = response, None

    def _answer(self, **told):
        self.told = told
        return {"scores": told["action_candidates"][0, :, -1, 0].tolist(), **self.response}


class ScoreActions(Scorer):
    def score_actions(self, *, model_path, info, action_candidates):
        return self._answer(model_path=model_path, info=info, action_candidates=action_candidates)


class ScoreActionCandidates(Scorer):
    def score_action_candidates(self, *, model_path, info, action_candidates):
        return self._answer(model_path=model_path, info=info, action_candidates=action_candidates)


class ComputeScores(Scorer):
    def compute_scores(self, *, model_path, info, action_candidates):
        return self._answer(model_path=model_path, info=info, action_candidates=action_candidates)


class GetCost(nn.Module):
    """The way of LeWorldModel: every tensor (batch, samples, ...), it adds its own keys, costs (batch, samples)."""

    action_dim = 2

    def get_cost(self, info, action_candidates):
        self.shapes = {key: tuple(value.shape) for key, value in info.items() if torch.is_tensor(value)}
        info["goal_emb"] = info["goal"].float().mean((2, 3, 4, 5))
        gap = info["pixels"].float().mean((2, 3, 4, 5)) - info["goal_emb"]
        return gap + action_candidates[..., 0].sum(-1)


class Meeting(Scorer):
    """Answers once two calls are in it at a time."""

    both = threading.Barrier(2)

    def score_actions(self, **told):
        self.both.wait(30)
        return self._answer(**told)


class Answering:
    """Answers whatever it was made with."""

    def __init__(self, answer):
        self.answer = answer

    def score_actions(self, **_):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Plain:
    """Only encode and unroll, dictionaries in and out; the latent is the mean pixel, moved by the actions."""

    action_dim = 4

    def encode(self, obs):
        return {"visual": obs.to(torch.float32).mean((2, 3, 4), keepdim=True)}

    def unroll(self, z_ctxt, act_suffix):
        start = z_ctxt if torch.is_tensor(z_ctxt) else z_ctxt["visual"]
        steps = torch.cumsum(act_suffix.sum(-1), 0)
        moved = start[0, -1].reshape(1, 1) + torch.cat([torch.zeros_like(steps[:1]), steps])
        return {"visual": moved.reshape(*moved.shape, 1, 1, 1)}


class EncodesGoalsApart(Plain):
    """Goals are a hundred brighter."""

    def encode(self, obs, *, act):
        return {"visual": super().encode(obs)["visual"] + (0 if act else 100)}


class Writes(Plain):
    """On standard output, in three ways."""

    def __init__(self):
        print("printed")
        os.write(1, b"written\n")
        subprocess.run([sys.executable, "-c", "print('by another')"], check=True)


class PlainOfAnyActions(Plain):
    """Does not say what actions it takes."""

    action_dim = -1
    told = None

    def encode(self, obs):
        self.told = obs


class Choosy(Plain):
    def encode(self, obs):
        raise RuntimeError("only of even Tuesdays")


class OnlyEncodes:
    encode = Plain.encode


class OnlyUnrolls:
    unroll = Plain.unroll


class OddAttributes(Plain):
    action_dim = "four"


class Kind(dict):
    """Latents as one model makes them."""


class OnlyItsOwnKind(Plain):
    """Takes proprio, and no other latents than its own."""

    proprio_dim = 2

    def encode(self, obs):
        return Kind(super().encode(obs["visual"]), proprio=obs["proprio"])

    def unroll(self, z_ctxt, act_suffix):
        assert type(z_ctxt) is Kind
        predicted = super().unroll(z_ctxt, act_suffix)
        return Kind(predicted, proprio=z_ctxt["proprio"].expand(len(predicted["visual"]), act_suffix.shape[1], -1))


class Overwriting(Scorer):
    """Scores by the first pixel, and then blackens the frame."""

    def score_actions(self, *, model_path, info, action_candidates):
        score = float(info["observation"].flatten()[0])
        info["observation"].zero_()
        return {"scores": [score] * action_candidates.shape[1]}


class Gradients(Scorer):
    """Scores by the slope of a sum over the pixels, times each candidate's last action."""

    def score_actions(self, *, model_path, info, action_candidates):
        with torch.enable_grad():
            pixels = info["observation"].float().requires_grad_()
            pixels.sum().backward()
        return {"scores": action_candidates[0, :, -1, 0] * pixels.grad.flatten()[0]}


class Patient(Scorer):
    """Scores once there is a file at `path`."""

    def __init__(self, path):
        super().__init__()
        self._path = Path(path)

    def score_actions(self, *, action_candidates, **_):
        wait_for(self._path)
        return self._answer(action_candidates=action_candidates)


class Printing(Scorer):
    """Prints far more than a pipe holds, in each score."""

    def score_actions(self, *, action_candidates, **_):
        for _ in range(2000):
            os.write(1, b"x" * 99 + b"\n")
        return self._answer(action_candidates=action_candidates)


def late(path):
    """A model that loads once there is a file at `path`."""
    wait_for(Path(path))
    return Plain()


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)


class Normalizer:
    action_mean = np.array([1.0, 2.0])
    action_std = np.array([2.0, 4.0])


def plain_with_preprocessor():
    return Plain(), Normalizer()


def scorer_with_preprocessor():
    model = ScoreActions()
    model.action_dim = 4
    return model, Normalizer()


def on_device(device, size="1"):
    model = ScoreActions(metadata={"device_given": device, "size": size})
    return (model,)


def failing():
    raise KeyError("no such checkpoint")


def nothing():
    return ()


def constant_actions():
    normalizer = Normalizer()
    normalizer.action_std = np.array([2.0, 0.0])
    return Plain(), normalizer


not_callable = 3
