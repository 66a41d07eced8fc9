"""The scenes of a caller's latest scores, keyed by their content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from numpy.typing import NDArray

from worldforge_jepa_client.contract.digest import content_digest
from worldforge_jepa_client.contract.types import Observation, Scene

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


def scene_digest(scene: Scene) -> bytes:
    """Return a digest of a scene's content: which parts there are, their dtypes, shapes and values."""
    observation, goal = (
        _arrays(part, name) for part, name in ((scene.observation, "observation"), (scene.goal, "goal"))
    )
    return content_digest({**observation, **goal, "action_history": scene.action_history})


def _arrays(observation: Observation | None, name: str) -> dict[str, NDArray[Any] | None]:
    return {f"{name}.visual": observation.visual, f"{name}.proprio": observation.proprio} if observation else {}
