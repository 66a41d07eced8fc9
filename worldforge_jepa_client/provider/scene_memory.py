"""The scenes of a caller, keyed by their content: those of the latest scores, and those kept for callers of JSON."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from worldforge_jepa_client.contract.digest import content_digest
from worldforge_jepa_client.contract.types import Observation, Scene
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason

UNSEEN = None
SEEN = ""  # but without a context


class SceneMemory:
    """The context, if any, of each of the last `size` scenes. Thread-safe.

    Scenes are told apart by a digest of their arrays, so one that was changed in place is another scene.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._contexts: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def context(self, key: bytes) -> str | None:
        """Return a scene's context id, SEEN or UNSEEN."""
        with self._lock:
            if key in self._contexts:
                self._contexts.move_to_end(key)
            return self._contexts.get(key, UNSEEN)

    def remember(self, key: bytes, context_id: str = SEEN) -> None:
        """Keep a scene's context id, forgetting the scene that was asked for longest ago."""
        with self._lock:
            self._contexts[key] = context_id
            self._contexts.move_to_end(key)
            if len(self._contexts) > self._size:
                self._contexts.popitem(last=False)


class KeptScenes:
    """The last `size` scenes that were kept, by handle: the digest of their content. Thread-safe."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._scenes: OrderedDict[str, Scene] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, scene: Scene) -> str:
        """Keep a copy of a scene, forgetting the one that was used longest ago; return its handle."""
        handle = scene_digest(scene).hex()
        with self._lock:
            self._scenes[handle] = copy.deepcopy(scene)
            self._scenes.move_to_end(handle)
            if len(self._scenes) > self._size:
                self._scenes.popitem(last=False)
        return handle

    def find(self, handle: object, field: str) -> Scene:
        """Return a scene.

        Raises:
            InvalidArgumentError: no scene has the handle; `field` is named.
        """
        with self._lock:
            if not isinstance(handle, str) or handle not in self._scenes:
                raise invalid(
                    field, f"is {handle!r}; expected one of the last {self._size} handles given", Reason.INVALID_VALUE
                )
            self._scenes.move_to_end(handle)
            return self._scenes[handle]


def scene_digest(scene: Scene) -> bytes:
    """Return a digest of a scene's content: which parts there are, their dtypes, shapes and values."""
    observation, goal = (
        _arrays(part, name) for part, name in ((scene.observation, "observation"), (scene.goal, "goal"))
    )
    return content_digest({**observation, **goal, "action_history": scene.action_history})


def _arrays(observation: Observation | None, name: str) -> dict[str, NDArray[Any] | None]:
    return {f"{name}.visual": observation.visual, f"{name}.proprio": observation.proprio} if observation else {}
