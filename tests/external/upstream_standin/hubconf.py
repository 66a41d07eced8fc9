"""A stand-in for facebookresearch/jepa-wms: its surface and its surprises, on a model of a few hundred weights.

Written for this project from the documented behaviour of upstream; nothing here is upstream's code.
"""

import logging
import os
import random
import sys
from functools import partial
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

dependencies = ["torch"]

# What importing upstream does to the process.
print("a module's whole repr, on stdout")
logging.basicConfig(stream=sys.stdout, level=logging.INFO)
np.random.seed(0)
torch.manual_seed(0)
random.seed(0)
torch.backends.cudnn.benchmark = True
os.environ["CUDA_VISIBLE_DEVICES"] = "7"
torch.hub._validate_not_a_forked_repo = lambda *_: True
logging.getLogger().info("logged on stdout")

GRID, SIZE, DIM, WINDOW = 2, 8, 12, 2
PUSHT = {
    "action_mean": torch.tensor([-0.0087, 0.0068]),
    "action_std": torch.tensor([0.2019, 0.2002]),
    "proprio_mean": torch.tensor([236.6155, 264.5674, -2.9303, 2.5431]),
    "proprio_std": torch.tensor([101.1202, 87.0112, 74.8456, 74.1401]),
}


def plain(raw_action_dim, proprio_dim):
    """Statistics that change nothing."""
    parts = {"action": raw_action_dim, "proprio": proprio_dim}
    return {f"{part}_mean": torch.zeros(size) for part, size in parts.items()} | {
        f"{part}_std": torch.ones(size) for part, size in parts.items()
    }


class TensorDict(dict):
    """Only its type matters: `unroll` forgets to return anything for a plain dict."""


class Preprocessor:
    def __init__(self, statistics):
        self.__dict__.update(statistics)

    def normalize_actions(self, actions):
        return (actions - self.action_mean) / self.action_std

    def normalize_proprios(self, proprio):
        return (proprio - self.proprio_mean) / self.proprio_std

    def transform(self, visual):
        *_, height, width = visual.shape
        side = min(height, width)
        by_chance = abs(height - width) == 1
        top = random.randint(0, height - side) if by_chance else (height - side) // 2  # noqa: S311
        left = random.randint(0, width - side) if by_chance else (width - side) // 2  # noqa: S311
        square = visual[..., top : top + side, left : left + side].flatten(0, 1)
        return F.interpolate(square, (SIZE, SIZE), mode="bilinear").unflatten(0, visual.shape[:2])


def compute_new_pose(pose, action):
    return pose + action


class Inner(nn.Module):
    """Encoder and predictor; `conditioning` is how actions enter: "token" as they are, "feature" embedded per patch.

    With "pose" proprio is one raw token a frame, which the predictor takes and does not predict. `proprio_dim` is None
    where it takes none.
    """

    def __init__(self, action_dim, frameskip, conditioning, proprio_dim):
        super().__init__()
        self.action_dim, self.frameskip, self.conditioning = action_dim, frameskip, conditioning
        posing, use_proprio = conditioning == "pose", proprio_dim is not None
        self.use_proprio, self.proprio_dim = use_proprio, proprio_dim
        self.grid_size, self.img_size, self.device = GRID, SIZE, torch.device("cpu")
        self.heads = {"image_head": nn.Linear(1000, 1000)}
        self.encoder = nn.Linear(3 * (SIZE // GRID) ** 2, DIM)
        width = (proprio_dim if posing else 3) if use_proprio else 0
        self.proprio_encoder = nn.Linear(proprio_dim, 3) if use_proprio and not posing else None
        self.action_encoder = nn.Linear(action_dim, 5) if conditioning == "feature" else None
        self.mixing = nn.Linear(WINDOW * (DIM + width), DIM + width)
        self.acting = nn.Linear(5 if conditioning == "feature" else action_dim, DIM + width)

    def encode_act(self, actions):
        actions = actions.reshape(len(actions), -1, self.action_dim)
        if self.conditioning != "feature":
            return actions
        return self.action_encoder(actions).unsqueeze(2).repeat(1, 1, GRID**2, 1)

    def forward_pred(self, video_features, action_features, proprio_features, debug=False):
        frames = video_features.flatten(2, 4)
        if proprio_features is not None:
            per_patch = proprio_features if proprio_features.ndim == 4 else proprio_features.unsqueeze(2)
            frames = torch.cat([frames, per_patch.expand(-1, -1, GRID**2, -1)], dim=-1)
        if frames.shape[1] != action_features.shape[1]:
            raise RuntimeError("frames and actions differ in number")
        if frames.shape[-1] != self.acting.out_features:
            raise RuntimeError(f"expected {self.acting.out_features} channels, got {frames.shape[-1]}")
        actions = action_features if action_features.ndim == 4 else action_features.unsqueeze(2)
        acted = self.acting(actions)
        frames_before, acted_before = (F.pad(each, (0, 0, 0, 0, 1, 0))[:, :-1] for each in (frames, acted))
        predicted = torch.tanh(self.mixing(torch.cat([frames_before, frames], -1)) + acted + acted_before / 2)
        visual = predicted[..., :DIM].unflatten(2, (1, GRID, GRID))
        gives_proprio = proprio_features is not None and self.conditioning != "pose"
        return visual, None, predicted[..., DIM:] if gives_proprio else None


class EncPredWM(nn.Module):
    def __init__(self, inner, preprocessor):
        super().__init__()
        self.model, self.preprocessor, self.heads = inner, preprocessor, inner.heads
        self.action_dim, self.ctxt_window = inner.action_dim, WINDOW
        self.proprio_mode = "compute_new_pose" if inner.conditioning == "pose" else "predict_proprio"

    @torch.no_grad()
    def encode(self, obs, act=True):
        visual = obs["visual"] if isinstance(obs, dict) else obs
        pixels = self.preprocessor.transform(visual.to(torch.float32) / 255.0)
        patch = SIZE // GRID
        patches = pixels.unfold(3, patch, patch).unfold(4, patch, patch).permute(0, 1, 3, 4, 2, 5, 6).flatten(4)
        embedded = self.model.encoder(patches).unsqueeze(2)
        if not isinstance(obs, dict):
            return embedded
        normalized = self.preprocessor.normalize_proprios(obs["proprio"].cpu())
        if self.model.conditioning == "pose":
            return TensorDict(visual=embedded, proprio=normalized)
        proprio = self.model.proprio_encoder(normalized)
        return TensorDict(visual=embedded, proprio=proprio.unsqueeze(2).repeat(1, 1, GRID**2, 1))

    def unroll(self, z_ctxt, act_suffix=None, debug=False):
        structured = isinstance(z_ctxt, dict)
        visual = z_ctxt["visual"] if structured else z_ctxt
        batch = act_suffix.shape[1]
        visual = visual.expand(batch, *visual.shape[1:])
        proprio = z_ctxt["proprio"].expand(batch, *z_ctxt["proprio"].shape[1:]) if structured else None
        features = self.model.encode_act(act_suffix.transpose(0, 1))
        taken = features[:, :0]
        for step in range(len(act_suffix)):
            taken = torch.cat([taken, features[:, step : step + 1]], dim=1)
            seen = None if proprio is None else proprio[:, -WINDOW:]
            next_visual, _, next_proprio = self.model.forward_pred(visual[:, -WINDOW:], taken[:, -WINDOW:], seen)
            visual = torch.cat([visual, next_visual[:, -1:]], dim=1)
            if proprio is not None:
                if self.proprio_mode == "compute_new_pose":
                    next_proprio = compute_new_pose(proprio[:, -1:], act_suffix[step].unsqueeze(1))
                proprio = torch.cat([proprio, next_proprio[:, -1:]], dim=1)
        if isinstance(z_ctxt, TensorDict):
            return TensorDict(visual=visual.transpose(0, 1), proprio=proprio.transpose(0, 1))
        if not structured:
            return visual.transpose(0, 1)
        return None


def _load(conditioning, raw_action_dim, frameskip, proprio_dim, statistics=None, pretrained=True, device="cuda:0"):
    if not pretrained:
        checkpoint = Path(os.environ.get("JEPAWM_LOGS", "${JEPAWM_LOGS}")) / "jepa-latest.pth.tar"
        torch.load(checkpoint, weights_only=True)
    preprocessor = Preprocessor(statistics or plain(raw_action_dim, proprio_dim or 7))
    inner = Inner(raw_action_dim * frameskip, frameskip, conditioning, proprio_dim)
    return EncPredWM(inner, preprocessor).eval(), preprocessor


for family, conditioning in (("jepa_wm", "token"), ("dino_wm", "feature")):
    globals()[f"{family}_metaworld"] = partial(_load, conditioning, 4, 5, 4)
    globals()[f"{family}_pusht"] = partial(_load, conditioning, 2, 5, 4, PUSHT)
    globals()[f"{family}_pointmaze"] = partial(_load, conditioning, 2, 5, 4)
    globals()[f"{family}_wall"] = partial(_load, conditioning, 2, 5, 2)
    globals()[f"{family}_droid"] = partial(_load, conditioning, 7, 1, None)
vjepa2_ac_droid = partial(_load, "token", 7, 1, None)
vjepa2_ac_oss = partial(_load, "pose", 7, 1, 7)
homemade = partial(_load, "token", 2, 3, 4)  # an unpublished name


def needs_a_package(pretrained=True, device="cuda:0", **kwargs):
    import a_package_that_nobody_has  # noqa: F401


def needs_torchmetrics(pretrained=True, device="cuda:0", **kwargs):
    raise ModuleNotFoundError("No module named 'torchmetrics'", name="torchmetrics")


def needs_encoder_weights(pretrained=True, device="cuda:0", **kwargs):
    raise FileNotFoundError(2, "No such file or directory", "None/dinov3/dinov3_vitl16_pretrain_lvd1689m-7c1da9a5.pth")


def needs_vjepa2(pretrained=True, device="cuda:0", **kwargs):
    raise FileNotFoundError(2, "No such file or directory", "${JEPAWM_OSSCKPT}/vjepa2_opensource/vjepa2_vit_giant.pth")


def needs_dinov3(pretrained=True, device="cuda:0", **kwargs):
    raise FileNotFoundError(2, "No such file or directory", "/home/dinov3/hubconf.py")


def offline(pretrained=True, device="cuda:0", **kwargs):
    raise URLError("no route to host")


def encoder_offline(pretrained=True, device="cuda:0", **kwargs):
    raise RuntimeError(
        "It looks like there is no internet connection and the repo could not be found in the cache (/somewhere)"
    )


def file_missing(pretrained=True, device="cuda:0", **kwargs):
    raise FileNotFoundError(2, "No such file or directory", "config.yaml")


def failing(pretrained=True, device="cuda:0", **kwargs):
    raise KeyError("no such checkpoint")


def empty(pretrained=True, device="cuda:0", **kwargs):
    return ()


def no_model(pretrained=True, device="cuda:0", **kwargs):
    return nn.Linear(1, 1), None


def exiting(pretrained=True, device="cuda:0", **kwargs):
    sys.exit("upstream gave up")
