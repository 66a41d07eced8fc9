"""What a session holds fixed, without its stream: Session and AsyncSession share it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any

from worldforge_jepa_client.contract.extra_info import check_extra_info
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import Scene, ScoreCall
from worldforge_jepa_client.contract.validate import (
    check_candidates,
    check_goal_proprio,
    check_options,
    check_scene,
)
from worldforge_jepa_client.inputs.arrays import as_candidates, as_history, as_observation
from worldforge_jepa_client.inputs.build import build_extra_info, build_options, build_scene
from worldforge_jepa_client.inputs.keywords import RequestKeywords, ScoreKeywords, check_keywords
from worldforge_jepa_client.rpc.operations import Specs, Steps, checked_steps


class SessionScene:
    """A session's scene, and how to score in it.

    Arrays are copied: they may have to be sent later, and again, when the caller's buffers hold something else.

    Args:
        scene: the scene to begin with.
        model: a served model's name.
        keywords: how to score, unless a request says otherwise.
        specs: what the server has published.
    """

    def __init__(self, scene: Scene, model: str, keywords: RequestKeywords, specs: Specs) -> None:
        self._scene, self._model, self._keywords, self._specs = copy.deepcopy(scene), model, keywords, specs

    def check_steps(self) -> Steps[None]:
        """Check the scene."""
        yield from self.change_steps(Scene())

    def change_steps(self, changes: Scene) -> Steps[None]:
        """Check the scene with these changes, and score in it from now on."""
        scene = self._scene.updated(copy.deepcopy(changes))
        yield from checked_steps(self._model, partial(check_scene, scene), self._specs)
        self._scene = scene

    def call_steps(self, candidates: object, overrides: Mapping[str, Any]) -> Steps[ScoreCall]:
        """Check candidates and return their call."""
        check_keywords(overrides, RequestKeywords)
        keywords: Any = {**self._keywords, **overrides}
        call = ScoreCall(
            scene=self._scene,
            action_candidates=as_candidates(candidates).copy(),
            model=self._model,
            options=build_options(keywords),
            extra_info=build_extra_info(keywords),
        )
        yield from checked_steps(self._model, partial(_check, call, self._scene), self._specs)
        return call


def build_session_scene(observation: object, goal: object, keywords: ScoreKeywords, specs: Specs) -> SessionScene:
    """Return the scene that the arguments of `Client.session` describe."""
    check_keywords(keywords, ScoreKeywords)
    given: Any = dict(keywords)
    scene = build_scene(observation, goal, given.pop("action_history", None))
    return SessionScene(scene, given.pop("model", ""), given, specs)


def observation_changes(observation: object, action_history: object) -> Scene:
    """Return the change that a new observation is."""
    history = None if action_history is None else as_history(action_history)
    return Scene(observation=as_observation(observation, "context.observation"), action_history=history)


def goal_changes(goal: object) -> Scene:
    """Return the change that a new goal is."""
    return Scene(goal=as_observation(goal, "context.goal"))


def _check(call: ScoreCall, scene: Scene, spec: ModelSpec) -> None:
    check_options(call.options, spec)
    check_goal_proprio(scene.goal, call.options, spec)
    check_candidates(call.action_candidates, spec, normalized=call.options.actions_are_normalized)
    check_extra_info(call.extra_info, spec)
