"""The models for robots at reduced sizes: what upstream's classes and ours are both built of.

Weights and inputs are drawn from their names, so that only what upstream computed with them has to be stored; see
`tests/native/upstream_golden.py`.
"""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from worldforge_jepa_client.contract.spec import Limits
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.native.encoders.dinov2 import Dinov2Config
from worldforge_jepa_server.models.native.encoders.dinov3 import Dinov3Config
from worldforge_jepa_server.models.native.encoders.vjepa2 import VJepa2Config
from worldforge_jepa_server.models.native.jepa import EncoderConfig, Jepa, PredictorConfig
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.predictors.action_tokens import ActionTokensConfig
from worldforge_jepa_server.models.native.predictors.adaln import AdaLNConfig
from worldforge_jepa_server.models.native.predictors.causal import CausalConfig
from worldforge_jepa_server.models.native.weights.architectures import model_config
from worldforge_jepa_server.models.native.weights.checkpoint import load_weights
from worldforge_jepa_server.models.native.weights.key_names import official_weights

DATA = Path(__file__).parents[1] / "data"
OUTPUTS, KEYS = DATA / "robots.safetensors", DATA / "robots.json"
S, H, T, A, P = 2, 4, 3, 7, 7
D, GRID, DEPTH = 48, 3, 2


@dataclass(frozen=True)
class Robot:
    """Reduced sizes of one model: the encoder sees `image_size` px, the predictor is `width` wide."""

    encoder: EncoderConfig
    predictor: PredictorConfig
    image_size: int
    width: int = D
    heads: int = 4


_DINOV2 = Dinov2Config(42, patch_size=14, position_grid=5, embed_dim=D, depth=DEPTH, heads=4)
_DINOV3 = Dinov3Config(48, patch_size=16, embed_dim=D, depth=DEPTH, heads=4)
_VJEPA2 = VJepa2Config(48, patch_size=16, embed_dim=D, depth=DEPTH, heads=3, hidden=D * 48 // 11)

ROBOTS = {
    "dino_wm_droid": Robot(_DINOV2, CausalConfig(D, 0, 10, A, GRID, DEPTH, 2, max_frames=8), 42, heads=2),
    "jepa_wm_droid": Robot(_DINOV3, AdaLNConfig(D, D, 0, A, GRID, DEPTH, 4), 48),
    "vjepa2_ac_droid": Robot(_VJEPA2, ActionTokensConfig(D, 64, A, 0, GRID, DEPTH, 4), 48, width=64),
    "vjepa2_ac_oss": Robot(_VJEPA2, ActionTokensConfig(D, 64, A, P, GRID, DEPTH, 4), 48, width=64),
}


def draw(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal numbers that depend on the name alone, from NumPy's frozen generator."""
    numbers = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    return torch.from_numpy(np.asarray(numbers, np.float32))


def weight(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A weight under upstream's name, scaled so that latents of order 1 stay so, and actions matter."""
    if key.endswith("bias_mask"):
        return torch.ones(3, shape[0] // 3).index_fill(0, torch.tensor(1), 0).flatten()
    if key.endswith("periods"):
        return 1.1 * 100 ** (torch.arange(*shape) / shape[0])
    noise = draw(key, shape)
    if key.endswith("gamma"):
        return 0.5 + 0.1 * noise
    if ("norm" in key and key.endswith("weight")) or key.endswith("net.0.weight"):
        return 1 + 0.1 * noise
    if key.endswith("bias") or "pos_emb" in key or "token" in key:
        return 0.1 * noise
    gain = 5 if "action_encoder" in key else 0.3 if "adaLN" in key else 1
    return gain * noise / math.sqrt(math.prod(shape[1:]))


def frames(name: str, count: int) -> torch.Tensor:
    """Frames uint8 [1, count, 3, 50, 62]."""
    return (128 + 60 * draw(name, (1, count, 3, 50, 62))).clamp(0, 255).to(torch.uint8)


def actions(name: str, steps: int, samples: int) -> torch.Tensor:
    """Small movements [steps, samples, A]."""
    return 0.1 * draw(name, (steps, samples, A))


def poses(name: str, count: int) -> torch.Tensor:
    """Poses [1, count, P], the gripper within 0..1."""
    pose = draw(name, (1, count, P))
    return torch.cat([pose[..., :-1], torch.sigmoid(pose[..., -1:])], dim=-1)


def pose_moves() -> tuple[torch.Tensor, torch.Tensor]:
    """Poses and movements [N, 1, 7], gimbal lock among them."""
    pose, move = poses("moved", 40).transpose(0, 1), draw("moves", (40, 1, 7))
    pose[:4, :, 3:6] = torch.tensor([0.3, math.pi / 2, 0.5])
    pose[4:8, :, 3:6] = torch.tensor([0.3, -math.pi / 2, 0.5])
    move[:8, :, 3:6] = 0
    return pose, move


class RobotGolden:
    """Our model of the reduced size, with drawn weights, and what upstream's classes computed with the same."""

    def __init__(self, name: str) -> None:
        self.name, self.robot = name, ROBOTS[name]
        self.expected = {
            key.removeprefix(f"{name}."): tensor
            for key, tensor in load_file(OUTPUTS).items()
            if key.startswith(f"{name}.")
        }
        parts = {
            part: {key: weight(key, tuple(shape)) for key, shape in shapes.items()}
            for part, shapes in json.loads(KEYS.read_text())[name]["reduced"].items()
        }
        encoder = parts.pop("encoder")
        self.weights = official_weights(parts, encoder)

    def model(self, window: int = 2) -> NativeModel:
        config = model_config(CATALOG[self.name])
        module = Jepa(
            replace(config, encoder=self.robot.encoder, predictor=self.robot.predictor, context_window=window)
        )
        load_weights(module, self.weights)
        return NativeModel(module, name="golden", source="test", digest="", device="cpu", limits=Limits(100, 10, 4))

    def observe(self, name: str, count: int = 1) -> Observation:
        proprio = poses(f"{name} pose", count) if CATALOG[self.name].proprio_dim else None
        return Observation(frames(name, count), proprio)

    def close(self, actual: torch.Tensor, name: str, tolerance: float) -> None:
        expected = self.expected[name]
        torch.testing.assert_close(actual.reshape(expected.shape), expected, rtol=0, atol=tolerance)

    def close_latents(self, actual: Latents, name: str, tolerance: float) -> None:
        self.close(actual.visual, f"{name}_visual", tolerance)
        if actual.proprio is not None:
            self.close(actual.proprio, f"{name}_proprio", tolerance)


def expand(patterns: Mapping[str, list[int]]) -> dict[str, tuple[int, ...]]:
    """Keys to shapes, of patterns like `blocks.{24}.norm1.bias` for 24 blocks."""
    keys = {}
    for pattern, shape in patterns.items():
        head, _, rest = pattern.partition("{")
        count, _, tail = rest.partition("}")
        names = [f"{head}{index}{tail}" for index in range(int(count))] if rest else [pattern]
        keys |= dict(zip(names, itertools.repeat(tuple(shape))))
    return keys
