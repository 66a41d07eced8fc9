"""Nothing of a call stays on the CPU: on torch's meta device, where there is no data, tensors of two devices do not mix.

This is what can be shown of other devices where there is none.
"""

import numpy as np
import pytest
import torch

from tests.device.score_jobs import measured
from tests.native.golden import Golden
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.contract.types import Observation, Scene, ScoreOptions
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.device.encoding import Encoder
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.model import NativeModel

SAMPLES, HORIZON, CHUNK = 5, 4, 3


def native(golden):
    module = Jepa(Golden(golden).config())
    limits = tiny.load("cpu", "tiny").spec.limits
    return NativeModel(module, name="m", source="test", digest="", device="meta", limits=limits)


MODELS = {
    "tiny": lambda: tiny.load("meta", "tiny"),
    "adaln": lambda: native("adaln_tiny"),
    "dinowm": lambda: native("dinowm_tiny"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def zeros(model, frames):
    visual = np.zeros((1, frames, 3, 40, 50), np.uint8)
    return Observation(visual, np.zeros((1, frames, model.spec.proprio_dim), np.float32))


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("frames", [1, 2])
def test_a_scene_is_encoded_unrolled_and_measured_where_the_model_is(model, frames, objective):
    action_dim = model.spec.action_dim
    history = np.zeros((1, frames - 1, action_dim), np.float32) if frames > 1 else None
    encoded = Encoder(Cache(2**20, 60.0)).encode_scene(model, Scene(zeros(model, frames), zeros(model, 1), history))
    options = ScoreOptions(objective=objective, proprio_weight=0.1, actions_are_normalized=False)
    scores = measured(model, encoded, np.zeros((SAMPLES, HORIZON, action_dim), np.float32), options, CHUNK)
    assert (scores.device.type, scores.shape) == ("meta", (SAMPLES,))


def test_a_tensor_left_on_the_cpu_is_detected(model):
    latents = Encoder(Cache(2**20, 60.0)).encode(model, zeros(model, 1))
    elsewhere = torch.zeros(HORIZON, SAMPLES, model.spec.action_dim)
    with pytest.raises(RuntimeError, match="device"):
        list(model.unroll(latents, elsewhere, None))
