"""Native models of every architecture at small sizes with random weights; needs torch and numpy only."""

import copy
import functools
from dataclasses import replace

import torch

from worldforge_jepa_client.contract.spec import Limits
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Observation
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.weights.architectures import model_config
from worldforge_jepa_server.models.precision import FLOAT32

NAMES = ("jepa_wm_pusht", "dino_wm_pusht", "jepa_wm_droid", "vjepa2_ac_oss")
LIMITS = Limits(4096, 64, 16)
GRID, DEPTH = 4, 2


@functools.lru_cache
def module(name):
    """On the CPU, float32; weights of a size that keeps latents of order 1."""
    full = model_config(CATALOG[name])
    encoder = replace(full.encoder, image_size=GRID * full.encoder.patch_size, depth=DEPTH)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Jepa(replace(full, encoder=encoder, predictor=replace(full.predictor, grid=GRID, depth=DEPTH)))
        for parameter in made.parameters():
            parameter.data.normal_(0, 1 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.1)
    return made


def model(name, device, execution=FLOAT32):
    """The same weights on any device."""
    made = copy.deepcopy(module(name))
    return NativeModel(made, name=name, source="test", digest="", device=device, limits=LIMITS, execution=execution)


def scene(served, frames=1, seed=0):
    """An observation [1, frames, ...] on the model's device."""
    generator, spec = torch.Generator().manual_seed(seed), served.spec
    visual = torch.randint(0, 256, (1, frames, 3, 60, 70), dtype=torch.uint8, generator=generator)
    proprio = torch.randn(1, frames, spec.proprio_dim, generator=generator) if spec.proprio else None
    return Observation(visual.to(spec.device), None if proprio is None else proprio.to(spec.device))


def actions(served, steps, samples, seed=1):
    """Normalized actions [steps, samples, A] on the model's device."""
    drawn = torch.randn(steps, samples, served.spec.action_dim, generator=torch.Generator().manual_seed(seed))
    return drawn.to(served.spec.device)
