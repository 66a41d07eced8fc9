"""The embedded model: 64 x 64 pixels, 16 tokens of 32 channels, trained on two rooms and a door.

Its weights are packaged beside it; `weights/tiny.md` says how they were made and what they can do.
"""

from __future__ import annotations

from pathlib import Path

from worldforge_jepa_client.contract.spec import Identity, Limits, Normalization
from worldforge_jepa_client.version import __version__
from worldforge_jepa_server.models.native.encoders.dinov2 import Dinov2Config
from worldforge_jepa_server.models.native.jepa import Jepa, ModelConfig
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.predictors.adaln import AdaLNConfig
from worldforge_jepa_server.models.native.weights.checkpoint import load_weights, read_safetensors
from worldforge_jepa_server.models.precision import FLOAT32, Execution

WEIGHTS = Path(__file__).parent / "weights" / "tiny.safetensors"
LIMITS = Limits(max_samples=65536, max_horizon=64, max_context_frames=16)

CONFIG = ModelConfig(
    Dinov2Config(
        image_size=64,
        patch_size=16,
        position_grid=4,
        embed_dim=64,
        depth=2,
        heads=4,
        mlp_ratio=2,
        stem=(8, 32),
        output_dim=32,
    ),
    AdaLNConfig(
        latent_dim=32,
        visual_dim=56,
        proprio_embed_dim=8,
        action_dim=10,
        grid=4,
        depth=2,
        heads=4,
        mlp_ratio=2,
        residual=True,
    ),
    Normalization(action_mean=(0.0, 0.0), action_std=(1.5, 1.5), proprio_mean=(32.0, 32.0), proprio_std=(17.0, 17.0)),
    frameskip=5,
    pixel_mean=(0.5, 0.5, 0.5),
    pixel_std=(0.5, 0.5, 0.5),
)


def load(device: str, name: str, weights: Path = WEIGHTS, execution: Execution = FLOAT32) -> NativeModel:
    """The embedded model on `device`, published as `name`; `weights` come with their digest in a `.sha256` file.

    Raises:
        CheckpointError: the weights are not those their digest was taken of.
    """
    expected = weights.with_suffix(".sha256").read_text().split()[0]
    tensors, digest = read_safetensors(weights, sha256=expected)
    module = Jepa(CONFIG)
    load_weights(module, tensors)
    return NativeModel(
        module,
        name=name,
        source="embedded",
        digest=digest,
        device=device,
        limits=LIMITS,
        environment="two_room",
        identity=Identity("worldforge-jepa", __version__, pretrained=True),
        execution=execution,
    )
