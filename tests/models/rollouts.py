"""Random scenes and actions for a model of 64 x 64 pixels, and the latents it predicts."""

import torch

from worldforge_jepa_server.models.contract import Observation

S, H = 7, 4
PIXELS = 64


def scene(model, seed, frames=1):
    generator = torch.Generator().manual_seed(seed)
    visual = torch.randint(0, 256, (1, frames, 3, PIXELS, PIXELS), dtype=torch.uint8, generator=generator)
    return Observation(visual, 64 * torch.rand(1, frames, model.spec.proprio_dim, generator=generator))


def actions(model, seed, samples=S, horizon=H):
    return torch.randn(horizon, samples, model.spec.action_dim, generator=torch.Generator().manual_seed(seed))


def rollout(model, latents, plans, history=None):
    return list(model.unroll(latents, plans, history))
