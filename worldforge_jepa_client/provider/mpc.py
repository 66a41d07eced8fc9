"""An encoder for WorldForge's `LatentMPCController`, which samples actions here and scores them on a server.

The controller passes JSON alone, and asks for scores once an iteration. The frames stay in this process: the controller
gets a handle for them, and only candidates travel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.provider.actions import ActionMapping
from worldforge_jepa_client.provider.runtime import ELSEWHERE, HANDLE, GrpcRuntime
from worldforge_jepa_client.reasons import Reason

_Batch = TypeVar("_Batch")


class MPCEncoder(Generic[_Batch]):
    """WorldForge's `ScoreCandidateEncoder` for the model of a runtime.

    Args:
        runtime: that of the provider with which the controller scores.
        make_batch: WorldForge's `ScoreCandidateBatch`.

    Attributes:
        mapping: between the controller's actions and the model's candidates.

    Raises:
        FailedPreconditionError: the model's actions are of no known environment; see `ActionMapping`.
        JepaError: the server could not be asked for the model.
    """

    def __init__(self, runtime: GrpcRuntime, make_batch: Callable[..., _Batch]) -> None:
        self._runtime, self._make_batch = runtime, make_batch
        spec = runtime.client.model(runtime.model)
        self._normalizes, self.mapping = spec.normalization is not None, ActionMapping(spec)

    def keep(
        self, *, observation: object, goal: object, action_history: object = None
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Keep a scene; return the controller's `observation_info` and `goal_info`. Arrays as for `Client.score`."""
        handle = self._runtime.keep_scene(observation=observation, goal=goal, action_history=action_history)
        return {HANDLE: handle}, {HANDLE: handle}

    def encode(
        self,
        candidate_action_plans: Sequence[Sequence[object]],
        *,
        observation_info: Mapping[str, object],
        goal_info: Mapping[str, object],
    ) -> _Batch:
        """Return the batch of S plans: the scene's handle, and candidates (1, S, H, A) as nested lists.

        Raises:
            InvalidArgumentError: infos that `keep` did not return together, or plans that are not the model's.
        """
        handle = observation_info.get(HANDLE)
        if handle is None or handle != goal_info.get(HANDLE):
            problem = "is of another scene than observation_info; expected both of one keep()"
            raise invalid("goal_info", problem, Reason.CONFLICTING_FIELDS)
        candidates = self.mapping.candidates(candidate_action_plans, normalized=self._normalizes)
        info = {"observation": ELSEWHERE, "goal": ELSEWHERE, HANDLE: handle, "actions_are_normalized": self._normalizes}
        return self._make_batch(info=info, action_candidates=candidates.tolist())
