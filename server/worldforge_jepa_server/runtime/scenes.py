"""Scenes as calls name them: sent whole, or by the id of a context that the server keeps."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from worldforge_jepa_client.contract.types import Context, Scene
from worldforge_jepa_client.contract.validate import check_scene
from worldforge_jepa_client.errors import FailedPreconditionError, NotFoundError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.device.encoding import EncodedScene, Encoder, frames_kept
from worldforge_jepa_server.models.contract import ServedModel

_ID_BYTES = 16
_OVERHEAD = 1024  # bytes that the smallest context costs beside its latents


class OpenScene:
    """A scene that a call works in, of `frames` latent frames; encoded when it is first asked for."""

    def __init__(self, frames: int, encode: Callable[[], EncodedScene], *, has_history: bool) -> None:
        self.frames = frames
        self.has_history = has_history
        self._encode = encode
        self._encoded: EncodedScene | None = None

    def encoded(self) -> EncodedScene:
        """Encode it, or return what it was encoded to. On the device thread."""
        if self._encoded is None:
            self._encoded = self._encode()
        return self._encoded


@dataclass(frozen=True)
class StoredScene:
    """A context: an encoded scene and the model whose latents it holds."""

    model: str
    scene: EncodedScene


class Scenes:
    """Opens scenes for calls, and keeps contexts.

    Args:
        encoder: encodes what is sent whole.
        contexts: where contexts are kept.
    """

    def __init__(self, encoder: Encoder, contexts: Cache[StoredScene]) -> None:
        self._encoder = encoder
        self._contexts = contexts

    def keep(self, model: ServedModel, scene: EncodedScene) -> Context:
        """Keep a scene under a new, unguessable id."""
        name = secrets.token_urlsafe(_ID_BYTES)
        self._contexts.put(name, StoredScene(model.spec.name, scene), scene.size + _OVERHEAD)
        return Context(name, time.time() + self._contexts.ttl)

    def forget(self, context_id: str) -> None:
        """Drop a context; raises NotFoundError if there is none."""
        if not self._contexts.delete(context_id):
            raise _unknown(context_id)

    def model_of(self, scene: Scene | str, model: str) -> str:
        """Return the model a call means: the one it names, else that of its context, else the default ("").

        Raises:
            NotFoundError: no such context.
            FailedPreconditionError: the context is of another model.
        """
        if isinstance(scene, Scene):
            return model
        stored = self._contexts.get(scene)
        if stored is None:
            raise _unknown(scene)
        if model and model != stored.model:
            raise FailedPreconditionError(
                f"is of model {stored.model}; the request names {model}",
                reason=Reason.CONTEXT_OF_OTHER_MODEL,
                field="context_id",
            )
        return stored.model

    def whole(self, scene: Scene, model: ServedModel, *, needs_goal: bool = True) -> OpenScene:
        """Open a scene that was sent whole.

        Raises:
            InvalidArgumentError, OutOfRangeError: it does not fit the model.
        """
        check_scene(scene, model.spec, needs_goal=needs_goal)
        encode = partial(self._encoder.encode_scene, model, scene)
        return OpenScene(frames_kept(model, scene), encode, has_history=scene.action_history is not None)

    @contextlib.contextmanager
    def opened(self, scene: Scene | str, model: ServedModel, *, needs_goal: bool = True) -> Iterator[OpenScene]:
        """Open a scene; a context stays as long as it is open.

        Raises:
            InvalidArgumentError, OutOfRangeError: the scene does not fit the model.
            NotFoundError: no such context.
        """
        if isinstance(scene, Scene):
            yield self.whole(scene, model, needs_goal=needs_goal)
            return
        with self._contexts.using(scene) as stored:
            if stored is None:
                raise _unknown(scene)
            found = stored.scene
            yield OpenScene(found.frames, lambda: found, has_history=found.action_history is not None)


def _unknown(context_id: str) -> NotFoundError:
    return NotFoundError(
        f"{context_id!r} is unknown, expired or evicted; create it again",
        reason=Reason.CONTEXT_NOT_FOUND,
        field="context_id",
    )
