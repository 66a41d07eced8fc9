"""The lean predictor computes what its equations say, in blocks of the size of a published model's."""

from dataclasses import replace

import pytest
import torch

from benchmarks.models import reference
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.weights.architectures import model_config

S, N, D, P, A = 2, 256, 384, 16, 10


@pytest.fixture(scope="module")
def jepa():
    config = model_config(CATALOG["jepa_wm_pusht"])
    torch.manual_seed(0)
    return Jepa(replace(config, encoder=replace(config.encoder, depth=1), predictor=replace(config.predictor, depth=2)))


@pytest.mark.parametrize("horizon", [1, 2, 3], ids=["one frame", "the window fills", "the window slides"])
def test_a_rollout_equals_its_equations(jepa, horizon):
    generator = torch.Generator().manual_seed(1)
    visual, proprio = (torch.randn(1, 1, *size, generator=generator) for size in ((N, D), (1, P)))
    context = Latents(visual, proprio.expand(-1, -1, N, -1))
    actions = torch.randn(horizon, S, A, generator=generator)
    with torch.inference_mode():
        *_, last = jepa.unroll(context, actions, None)
    expected = reference.rollout(jepa, context, actions)
    assert not torch.allclose(expected.visual[0], expected.visual[1], atol=1e-2)  # the actions matter
    torch.testing.assert_close(last.visual, expected.visual, rtol=0, atol=2e-5)
    torch.testing.assert_close(last.proprio, expected.proprio, rtol=0, atol=2e-5)
