"""Models and inputs shared by the tests of `hub:NAME`."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
import torch

from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.registry import load_model

STAND_IN = Path(__file__).parent / "upstream_standin"
UPSTREAM = os.environ.get("JEPA_WMS_HUB_REPO")
NO_UPSTREAM = "JEPA_WMS_HUB_REPO names no checkout of facebookresearch/jepa-wms"
NAMES = ("jepa_wm_pusht", "dino_wm_pusht")
S, H, A, P = 2, 3, 10, 4


def load(name, device="cpu", **options):
    """`hub:NAME` from the stand-in, or from `repo`."""
    return load_model(ModelSource("m", f"hub:{name}", {"repo": str(STAND_IN), **options}), device)


def options_of(repo):
    """Return the load options for "stand-in" or "upstream"."""
    if repo == "stand-in":
        return {"repo": str(STAND_IN)}
    if UPSTREAM is None:
        pytest.skip(NO_UPSTREAM)
    return {"repo": UPSTREAM, "pretrained": "false" if "JEPAWM_LOGS" in os.environ else "true"}


@functools.lru_cache(maxsize=1)
def loaded(repo, name):
    """The model, loaded once for all tests that stand together."""
    return load(name, **options_of(repo))


def frames(count=1, height=20, width=31, seed=0):
    """An observation [1, count, ...]."""
    generator = torch.Generator().manual_seed(seed)
    visual = torch.randint(0, 256, (1, count, 3, height, width), dtype=torch.uint8, generator=generator)
    return Observation(visual, 100 * torch.randn(1, count, P, generator=generator))


def arrays(observation):
    """The same as a caller of the client gives it."""
    return {"visual": observation.visual.numpy(), "proprio": observation.proprio.numpy()}


def random_actions(steps=H, samples=S):
    """Normalized actions [steps, samples, A]."""
    return torch.randn(steps, samples, A, generator=torch.Generator().manual_seed(1))


def join(steps):
    """Predicted frames one after the other, T = H."""
    steps = list(steps)
    return Latents(torch.cat([s.visual for s in steps], 1), torch.cat([s.proprio for s in steps], 1))
