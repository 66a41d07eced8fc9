"""WorldForge's JEPA-WMS runtime on top of `Client`; works without WorldForge."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from worldforge_jepa_client.contract.types import Scene, ScoreOptions, ScoreResult
from worldforge_jepa_client.errors import JepaError, NotFoundError, invalid, nearest
from worldforge_jepa_client.inputs.arrays import as_array
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.provider.scene_memory import UNSEEN, KeptScenes, SceneMemory, scene_digest
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.channel import default_target, environment
from worldforge_jepa_client.rpc.credentials import Credentials, FilePath
from worldforge_jepa_client.rpc.sync.client import Client

if TYPE_CHECKING:
    from typing_extensions import Self


_OPTIONS = tuple(item.name for item in fields(ScoreOptions))
_SCENE = ("observation", "goal", "observation_proprio", "goal_proprio", "action_history")
_SCENES = 8
_RANK = 4
"""Of candidates, which WorldForge always sends with their batch."""

HANDLE = "scene_handle"
"""The key of `info` for a kept scene's handle."""
ELSEWHERE = [[0.0]]
"""Observation and goal beside a handle: WorldForge's own check asks for both, with two dimensions or more."""

_INFO_FIELDS = {
    "context.observation.visual": "info.observation",
    "context.observation.proprio": "info.observation_proprio",
    "context.goal.visual": "info.goal",
    "context.goal.proprio": "info.goal_proprio",
    "context.action_history": "info.action_history",
    **{f"options.{name}": f"info.{name}" for name in _OPTIONS},
}
"""The names of fields in errors, and in the `info` of `score_actions`."""


class GrpcRuntime:
    """WorldForge's JEPA-WMS runtime on a worldforge-jepa server. Thread-safe.

    A scene goes to the server whole when it is first scored in, so that one that is scored in once costs nothing more.
    From the second time on the server keeps it as a context, and only candidates are sent. Scenes are compared by
    content; the last 8 are remembered.

    Args:
        target: "host:port" or "unix:/path"; by default the environment's WORLDFORGE_JEPA_TARGET, then
            127.0.0.1:50051.
        model: a served model's name; by default the environment's JEPA_WMS_MODEL_NAME, then the server's default
            model. This alone chooses the model.
        timeout: seconds one call may take.
        token: as for `Client`, like the three below.
        cacert: see there.
        cert: see there.
        key: see there.
        retry: see there.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        model: str | None = None,
        timeout: float = 10.0,
        token: str | None = None,
        cacert: FilePath | None = None,
        cert: FilePath | None = None,
        key: FilePath | None = None,
        retry: bool = False,
    ) -> None:
        self.model = model or environment("JEPA_WMS_MODEL_NAME")
        self.credentials = Credentials(token, cacert, cert, key)
        self.client = Client(target or default_target(), timeout=timeout, retry=retry, **self.credentials.keywords())
        self.contexts_created = 0
        """The number of scenes that the server was asked to keep."""
        self._scenes, self._kept = SceneMemory(_SCENES), KeptScenes(_SCENES)
        self._counting = threading.Lock()

    def keep_scene(self, *, observation: object, goal: object, action_history: object = None) -> str:
        """Keep a scene in this process; return its handle, text, for callers that pass JSON alone.

        `info` then has it as "scene_handle", beside `ELSEWHERE` as observation and as goal. The last 8 are kept.

        Args:
            observation: as for `Client.score`, as are the others.
            goal: see there.
            action_history: see there.

        Raises:
            InvalidArgumentError: an argument is not an array.
        """
        return self._kept.keep(build_scene(observation, goal, action_history))

    def score_actions(self, *, model_path: str, info: Mapping[str, Any], action_candidates: object) -> dict[str, Any]:
        """Score candidates; a failed call is an error payload, never an exception of the client.

        Args:
            model_path: WorldForge's label for its own records; it chooses no model.
            info: "observation" and "goal", each visual (1, T, 3, height, width) in 0..255, leading axes of size 1
                optional; "observation_proprio" and "goal_proprio", (1, T, P) raw, where the model takes proprio;
                optional "action_history" (1, T-1, A), "objective" ("l2", "l1" or "cosine"), "proprio_weight" and
                "actions_are_normalized" (default True). Other keys must be JSON; a model with a scoring method of
                its own receives them, any other refuses them. Or "scene_handle", see `keep_scene`.
            action_candidates: (1, S, H, A).

        Returns:
            {"scores": S floats, "best_index", "lower_is_better", "metadata"}, where the metadata is the server's with
            its "timing" in microseconds; or {"error": {"type", "message"}}, where the type is the error's reason in
            lower case and the message names the field.
        """
        try:
            scene, options = self._arguments(info)
            candidates = as_array(action_candidates, "action_candidates", rank=_RANK, least_rank=_RANK)
            result = self._score(scene, {"action_candidates": candidates, "model": self.model, **options})
        except JepaError as error:
            return {"error": {"type": error.reason.lower(), "message": _message(error)}}
        return _payload(result)

    def _arguments(self, info: object) -> tuple[Scene, dict[str, Any]]:
        """Return the scene, options and extra info that `info` holds."""
        if not isinstance(info, Mapping):
            raise invalid(
                "info", f"is a {type(info).__name__}; expected an object with observation and goal", Reason.INVALID_TYPE
            )
        if HANDLE in info:
            _check_no_scene(info)
            scene = self._kept.find(info[HANDLE], f"info.{HANDLE}")
        else:
            scene = _scene_of(info)
        extra = {key: value for key, value in info.items() if key not in (*_SCENE, *_OPTIONS, HANDLE)}
        return scene, {**{name: info[name] for name in _OPTIONS if name in info}, "extra_info": extra}

    def _score(self, scene: Scene, call: dict[str, Any]) -> ScoreResult:
        key = scene_digest(scene)
        context = self._scenes.context(key)
        if context is UNSEEN:
            result = self.client.score(**vars(scene), **call)
            self._scenes.remember(key)
            return result
        try:
            return self.client.score(context=context or self._keep(key, scene), **call)
        except NotFoundError as error:
            if error.reason != Reason.CONTEXT_NOT_FOUND:
                raise
            return self.client.score(context=self._keep(key, scene), **call)

    def _keep(self, key: bytes, scene: Scene) -> str:
        context = self.client.create_context(**vars(scene), model=self.model)
        self._scenes.remember(key, context.id)
        with self._counting:
            self.contexts_created += 1
        return context.id

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _scene_of(info: Mapping[str, Any]) -> Scene:
    observation, goal = (
        {"visual": info.get(name), "proprio": info.get(f"{name}_proprio")} for name in ("observation", "goal")
    )
    return build_scene(observation, goal, info.get("action_history"))


def _check_no_scene(info: Mapping[str, Any]) -> None:
    for name in _SCENE:
        if name in info and not (isinstance(info[name], list) and info[name] == ELSEWHERE):
            raise invalid(
                f"info.{name}", f"is set beside {HANDLE}; expected {ELSEWHERE} or nothing", Reason.CONFLICTING_FIELDS
            )


def _message(error: JepaError) -> str:
    key = error.field.removeprefix("extra_info.")
    if error.reason == Reason.UNKNOWN_FIELD and key != error.field:
        return f"info.{key}: is no key that the model reads{nearest(key, (*_SCENE, *_OPTIONS))}"
    name = _INFO_FIELDS.get(error.field) or error.field.replace("extra_info", "info", 1)
    return name + str(error).removeprefix(error.field)


def _payload(result: ScoreResult) -> dict[str, Any]:
    return {
        "scores": result.scores.tolist(),
        "best_index": result.best_index,
        "lower_is_better": result.lower_is_better,
        "metadata": {**result.metadata, "timing": asdict(result.timing)},
    }
