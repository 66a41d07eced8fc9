"""A first score of zeros, so that the first caller does not pay for allocations and kernel choices."""

from __future__ import annotations

from threading import Event

import numpy as np

from worldforge_jepa_client.calls import Observation, Scene, ScoreOptions
from worldforge_jepa_client.spec import FREE
from worldforge_jepa_server.contexts import Cache
from worldforge_jepa_server.encoding import Encoder
from worldforge_jepa_server.models.contract import WorldModel
from worldforge_jepa_server.models.execution import end_compiling
from worldforge_jepa_server.scoring import score, to_actions

_PIXELS = 64
_SAMPLES = 8


def warm_up(model: WorldModel) -> None:
    """Score zeros once, until the window has filled and slid: what is compiled has then met its shapes.

    A model that cannot score what its own spec allows fails here, before the server is ready.
    """
    spec = model.spec
    frames = Observation(
        np.zeros([_PIXELS if size == FREE else size for size in (1, 1, *spec.visual.shape[2:])], np.uint8),
        np.zeros((1, 1, spec.proprio_dim), np.float32) if spec.proprio else None,
    )
    scene = Encoder(Cache(max_bytes=0, ttl=0)).encode_scene(model, Scene(frames, frames))
    actions = np.zeros((_SAMPLES, spec.context_window + 1, spec.action_dim), np.float32)
    score(model, scene, to_actions(model, actions, True), ScoreOptions(), _SAMPLES, Event())
    if spec.compiled:
        end_compiling()
