"""A first score of zeros, so that the first caller does not pay for allocations and kernel choices."""

from __future__ import annotations

from threading import Event

import numpy as np

from worldforge_jepa_client.calls import Observation, Scene, ScoreOptions
from worldforge_jepa_client.spec import FREE
from worldforge_jepa_server.contexts import Cache
from worldforge_jepa_server.encoding import Encoder
from worldforge_jepa_server.models.contract import ModelLoadError, SelfScoringModel, ServedModel, WorldModel
from worldforge_jepa_server.models.execution import end_compiling
from worldforge_jepa_server.scoring import score, to_actions

_PIXELS = 224  # also where an encoder takes no other size
_SAMPLES = 8


def warm_up(model: ServedModel) -> None:
    """Score zeros once, until the window has filled and slid: what is compiled has then met its shapes.

    A model that cannot score what its own spec allows fails here, before the server is ready.

    One that scores by itself, or does not say what actions it takes, is left alone: zeros might be no scene to it.

    Raises:
        ModelLoadError: it failed.
    """
    if isinstance(model, SelfScoringModel) or model.spec.action_dim == FREE:
        return
    try:
        _score_zeros(model)
    except Exception as error:
        raise ModelLoadError(
            f"model {model.spec.name} was loaded, but cannot score zeros: {type(error).__name__}: {error}"
        ) from error


def _score_zeros(model: WorldModel) -> None:
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
