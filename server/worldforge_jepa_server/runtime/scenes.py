"""Resolves a call's scene: sent inline, or named by the id of a context, which the server keeps encoded."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.tensor_checks import with_rank
from worldforge_jepa_client.contract.types import Context, Observation, Scene
from worldforge_jepa_client.contract.validate import check_scene
from worldforge_jepa_client.errors import FailedPreconditionError, NotFoundError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.device.encoding import EncodedScene, Encoder, SceneHandle, frames_kept
from worldforge_jepa_server.runtime.model_table import Deployment, Deployments

_ID_BYTES = 16
_OVERHEAD = 1024  # bytes that a context costs beside its latents


@dataclass(frozen=True)
class StoredScene:
    """A context: an encoded scene and the model whose latents it holds."""

    model: str
    scene: EncodedScene


HeldScene = tuple[Deployment, SceneHandle]
"""The model of a call and the scene it works in."""


class Scenes:
    """Resolves the scenes of calls, and keeps contexts.

    Args:
        models: the models in service.
        encoder: encodes scenes that are sent whole.
        contexts: where contexts are kept.
    """

    def __init__(self, models: Deployments, encoder: Encoder, contexts: Cache[StoredScene]) -> None:
        self._models = models
        self._encoder = encoder
        self._contexts = contexts

    def keep(self, model: str, scene: EncodedScene) -> Context:
        """Keep a scene under a new, unguessable id."""
        name = secrets.token_urlsafe(_ID_BYTES)
        self._contexts.put(name, StoredScene(model, scene), scene.size + _OVERHEAD)
        return Context(name, time.time() + self._contexts.ttl)

    def forget(self, context_id: str) -> None:
        """Drop a context.

        Raises:
            NotFoundError: no such context.
        """
        if not self._contexts.delete(context_id):
            raise _unknown(context_id)

    def hold(self, scene: Scene, model: str, *, needs_goal: bool = True) -> HeldScene:
        """Check a scene that was sent whole; return the model of the call, and the scene as it is to be encoded.

        Raises:
            InvalidArgumentError, OutOfRangeError: the scene does not fit the model.
            JepaError: the model is not in service; see `Deployments.find`.
        """
        deployed = self._models.find(model)
        check_scene(scene, deployed.spec, needs_goal=needs_goal)
        scene = _as_frames(scene, deployed.spec)
        encode = partial(self._encoder.encode_scene, deployed.model, scene)
        frames, has_history = frames_kept(deployed.model, scene), scene.action_history is not None
        return deployed, SceneHandle(frames, scene.goal, encode, has_history=has_history)

    @contextlib.contextmanager
    def resolve(self, scene: Scene | str, model: str, *, needs_goal: bool = True) -> Iterator[HeldScene]:
        """Yield the model and the scene of a call; a context stays at least as long.

        The model is the one that the call names, else that of its context, else the default ("").

        Raises:
            NotFoundError: no such context.
            FailedPreconditionError: the context is of another model.
            JepaError: as `hold` does.
        """
        if isinstance(scene, Scene):
            yield self.hold(scene, model, needs_goal=needs_goal)
            return
        with self._contexts.using(scene) as stored:
            if stored is None:
                raise _unknown(scene)
            if model and model != stored.model:
                raise FailedPreconditionError(
                    f"is of model {stored.model}; the request names {model}",
                    reason=Reason.CONTEXT_OF_OTHER_MODEL,
                    field="context_id",
                )
            yield self._models.find(stored.model), SceneHandle.of(stored.scene)


def _as_frames(scene: Scene, spec: ModelSpec) -> Scene:
    """Return a checked scene; the array of a model that takes no frames as one frame of its shape, (1, 1, ...)."""
    if spec.takes_frames:
        return scene

    def framed(part: Observation | None) -> Observation | None:
        return part and Observation(with_rank(part.visual, len(spec.visual.shape))[None, None], part.proprio)

    return Scene(framed(scene.observation), framed(scene.goal), scene.action_history)


def _unknown(context_id: str) -> NotFoundError:
    return NotFoundError(
        f"{context_id!r} is unknown, expired or evicted; create it again",
        reason=Reason.CONTEXT_NOT_FOUND,
        field="context_id",
    )
