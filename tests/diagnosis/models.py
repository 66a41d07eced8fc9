"""Models that are not fit to plan with, each in its own way, as `python:tests.diagnosis.models:NAME` finds them."""

import torch

from worldforge_jepa_client.contract.spec import Normalization
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.model import NativeModel


class Tiny:
    """The embedded model behind the interface of Python models."""

    action_dim, proprio_dim, frameskip, img_size = 10, 2, 5, 64

    def __init__(self):
        self.world = tiny.load("cpu", "tiny")
        self.preprocessor = Preprocessor()  # its own: the embedded model normalizes proprio itself

    def encode(self, obs):
        latents = self.world.encode(Observation(obs["visual"], obs["proprio"]))
        return {"visual": latents.visual, "proprio": latents.proprio}

    def unroll(self, z_ctxt, act_suffix):
        frames = list(self.world.unroll(Latents(z_ctxt["visual"], z_ctxt["proprio"]), act_suffix, None))
        visual, proprio = (torch.stack([getattr(frame, part)[:, 0] for frame in frames]) for part in PARTS)
        return {
            part: torch.cat([first_of(z_ctxt[part], each), each])
            for part, each in zip(PARTS, (visual, proprio), strict=True)
        }


PARTS = ("visual", "proprio")


def first_of(context, predicted):
    """The last frame of a context [1, T, ...] for each candidate, time first [1, S, ...]."""
    return context[:, -1].expand(predicted.shape[1:])[None]


class IgnoresActions(Tiny):
    """Predicts what follows from some actions of its own."""

    def unroll(self, z_ctxt, act_suffix):
        return super().unroll(z_ctxt, torch.ones_like(act_suffix))


class PredictsThePresent(Tiny):
    def unroll(self, z_ctxt, act_suffix):
        steps, samples = act_suffix.shape[:2]
        return {
            part: each[:, -1].expand(samples, *each.shape[2:])[None].expand(steps + 1, samples, *each.shape[2:])
            for part, each in z_ctxt.items()
        }


class FadesAfterTwoSteps(Tiny):
    """Predicts two steps, and from the third on the present."""

    def unroll(self, z_ctxt, act_suffix):
        predicted = super().unroll(z_ctxt, act_suffix)
        return {part: torch.cat([each[:3], each[:1].expand(each[3:].shape)]) for part, each in predicted.items()}


class Bare(Tiny):
    """Publishes neither statistics nor what actions it takes; it takes normalized ones."""

    action_dim = -1

    def __init__(self):
        super().__init__()
        del self.preprocessor


class Preprocessor:
    """The embedded model's statistics."""

    published: Normalization = tiny.CONFIG.normalization
    action_mean, action_std = (torch.tensor(v) for v in (published.action_mean, published.action_std))
    proprio_mean, proprio_std = (torch.tensor(v) for v in (published.proprio_mean, published.proprio_std))


def ignores_actions():
    return IgnoresActions(), Preprocessor()


def predicts_the_present():
    return PredictsThePresent(), Preprocessor()


def fades_after_two_steps():
    return FadesAfterTwoSteps(), Preprocessor()


def random_weights():
    """A native model that was never trained."""
    torch.manual_seed(0)
    model = Tiny()
    model.world = NativeModel(
        Jepa(tiny.CONFIG), name="random", source="test", digest="", device="cpu", limits=tiny.LIMITS
    )
    return model, Preprocessor()


class ScoresOnly:
    """A model with a scoring method and no latents: it moves the proprio by the actions, in px."""

    action_dim, proprio_dim, frameskip = 10, 2, 5

    def score_actions(self, *, model_path, info, action_candidates):
        std = Preprocessor.action_std
        moved = (action_candidates.reshape(*action_candidates.shape[:3], 5, 2) * std).sum(dim=(2, 3))[0]
        now, goal = (info[f"{part}_proprio"].reshape(-1, 2)[-1] for part in ("observation", "goal"))
        gap = (now - goal) * Preprocessor.proprio_std + moved  # proprio arrives normalized
        return {"scores": gap.square().sum(-1).tolist()}


def scores_only():
    return ScoresOnly(), Preprocessor()
