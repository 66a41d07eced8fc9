"""A small world model of two methods, `encode` and `unroll`, and its preprocessor.

Letters: B batch, T frames, H horizon, A packed action dim, D latent dim.
"""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn

D, RAW_ACTION_DIM, FRAMESKIP = 32, 2, 5


class MyModel(nn.Module):
    """Encodes a frame to one vector, and adds a function of the action to it for each step."""

    action_dim = RAW_ACTION_DIM * FRAMESKIP
    """A; a packed action is `FRAMESKIP` raw ones, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.GELU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Linear(8 * 4 * 4, D)
        self.predictor = nn.Sequential(nn.Linear(D + self.action_dim, 64), nn.GELU(), nn.Linear(64, D))

    def encode(self, visual: Tensor) -> Tensor:
        """Encode transformed frames (B, T, 3, height, width) to latents (B, T, D), each frame by itself."""
        latents: Tensor = self.head(self.encoder(visual.flatten(0, 1)))
        return latents.reshape(*visual.shape[:2], D)

    def unroll(self, latents: Tensor, act_suffix: Tensor) -> Tensor:
        """Predict the latents after each normalized action, time first.

        Args:
            latents: of the scene, (1, 1, D).
            act_suffix: (H, B, A).

        Returns:
            (H, B, D).
        """
        now, predicted = latents[:, -1].expand(act_suffix.shape[1], -1), []
        for action in act_suffix:
            now = now + self.predictor(torch.cat([now, action], dim=-1))
            predicted.append(now)
        return torch.stack(predicted)


def make(device: str, checkpoint: str = "") -> tuple[MyModel, SimpleNamespace]:
    """Return the model with its weights, and its preprocessor.

    Args:
        device: the server's `--device`.
        checkpoint: file of a state dict; without one the weights are random, from a fixed seed.
    """
    torch.manual_seed(0)
    model = MyModel()
    if checkpoint:
        model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    preprocessor = SimpleNamespace(
        transform=lambda frames: (frames / 255 - 0.5) / 0.25,  # from float32 in 0..255
        action_mean=[0.0, 0.0],  # of the raw actions in the training data
        action_std=[1.5, 1.5],
    )
    return model.to(device), preprocessor
