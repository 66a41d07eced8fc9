"""Plan with stable-worldmodel's solvers through a server: `CEMSolver(ServerCost(client), ...)`.

Letters: B environments, S samples, H horizon, A packed action dim, T context frames, P proprio.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from worldforge_jepa_client import Client


class ServerCost:
    """A `Costable` whose costs come from a server.

    The solver's actions are the model's normalized ones: fit the policy's `process["action"]` to the same statistics as
    the model's. The policy needs no `transform` of pixels: frames go as they are, and the server resizes them.

    Args:
        client: connected to the server.
        model: the served model's name; empty is the server's default.
        keys: other tensors of `info` to send, such as ("state", "goal_state").
    """

    def __init__(self, client: Client, model: str = "", keys: tuple[str, ...] = ()) -> None:
        self._client, self._model, self._keys = client, model, keys

    def get_cost(self, info: Mapping[str, Any], candidates: Any) -> Any:
        """Return costs [B, S], lower is better, of candidates [B, S, H, A], on their device.

        `info` has `pixels` and `goal` [B, S, T, ...] in 0..255, channels first or last, and where the model takes them
        `proprio` and `goal_proprio` [B, S, T, P], and `action_history` [B, S, T-1, A]. Without a history the first T-1
        candidates are taken for it, by the contract of release 0.1.1.
        """
        return candidates.new_tensor(np.stack([self._costs(info, candidates, row) for row in range(len(candidates))]))

    def _costs(self, info: Mapping[str, Any], candidates: Any, row: int) -> Any:
        scene = {key: _array(value[row, 0]) for key, value in info.items() if hasattr(value, "shape")}
        actions = _array(candidates[row])
        observation, goal = _observation(scene, "pixels", "proprio"), _observation(scene, "goal", "goal_proprio")
        past = len(observation["visual"]) - 1
        history = scene.get("action_history")
        if history is None and past:
            history, actions = actions[0, :past], actions[:, past:]
        result = self._client.score(
            observation=observation,
            goal=goal,
            action_history=history if past else None,
            action_candidates=actions[None],
            model=self._model,
            extra_info={key: scene[key][None].tolist() for key in self._keys},
        )
        return result.scores if result.lower_is_better else -result.scores


def _array(tensor: Any) -> Any:
    return np.asarray(tensor.cpu() if hasattr(tensor, "cpu") else tensor)


def _observation(scene: Mapping[str, Any], frames: str, proprio: str) -> dict[str, Any]:
    visual = scene[frames]
    if visual.shape[-1] == 3 and visual.shape[-3] != 3:  # channels last, as environments give them
        visual = np.moveaxis(visual, -1, -3)
    return {"visual": visual, **({"proprio": scene[proprio]} if proprio in scene else {})}
