"""The scene and options of a session, without its stream; both kinds of session share it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

from worldforge_jepa_client.contract.extra_info import check_extra_info
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import Scene, ScoreCall, ScoreOptions
from worldforge_jepa_client.contract.validate import check_candidates, check_goal_proprio, check_options, check_scene
from worldforge_jepa_client.inputs.arrays import as_candidates, as_history, as_observation
from worldforge_jepa_client.inputs.build import build_extra_info, build_options
from worldforge_jepa_client.rpc.operations import Operation, Specs, checked


class SessionScene:
    """A session's scene, and the options of its scores.

    Arrays are copied: they may have to be sent later, and again, when the caller's buffers have changed.

    Args:
        scene: the scene to begin with.
        options: the options of a request that has none of its own.
        extra_info: likewise.
        model: a served model's name; empty is the server's default.
        specs: the specs that the server has published.
    """

    def __init__(
        self, scene: Scene, options: ScoreOptions, extra_info: Mapping[str, Any], model: str, specs: Specs
    ) -> None:
        self._scene, self._options, self._extra_info = copy.deepcopy(scene), options, extra_info
        self._model, self._specs = model, specs
        self._checked = False

    @property
    def max_message_bytes(self) -> int:
        """The largest message that the server takes; 0 where none is known."""
        spec = self._specs.get(self._model)
        return spec.limits.max_message_bytes if spec else 0

    def check(self) -> Operation[None]:
        """Check the scene, unless that is done."""
        if not self._checked:
            yield from self.change(Scene())

    def change(self, changes: Scene) -> Operation[None]:
        """Check the scene with these changes, and score in it from now on."""
        scene = self._scene.updated(copy.deepcopy(changes))
        yield from checked(self._model, partial(check_scene, scene), self._specs)
        self._scene, self._checked = scene, True

    def score_call(
        self, candidates: object, extra_info: Mapping[str, Any] | None, **options: object
    ) -> Operation[ScoreCall]:
        """Check candidates and return their call; options that are None are the session's."""
        call = ScoreCall(
            scene=self._scene,
            action_candidates=as_candidates(candidates).copy(),
            model=self._model,
            options=build_options(**options, default=self._options),
            extra_info=self._extra_info if extra_info is None else build_extra_info(extra_info),
        )
        yield from self.check()
        yield from checked(self._model, partial(_check, call, self._scene), self._specs)
        return call


def observation_changes(observation: object, action_history: object) -> Scene:
    """Return a new observation as changes of the scene."""
    history = None if action_history is None else as_history(action_history)
    return Scene(observation=as_observation(observation, "context.observation"), action_history=history)


def goal_changes(goal: object) -> Scene:
    """Return a new goal as changes of the scene."""
    return Scene(goal=as_observation(goal, "context.goal"))


def _check(call: ScoreCall, scene: Scene, spec: ModelSpec) -> None:
    check_options(call.options, spec)
    check_goal_proprio(scene.goal, call.options, spec)
    check_candidates(call.action_candidates, spec, normalized=call.options.actions_are_normalized)
    check_extra_info(call.extra_info, spec)
