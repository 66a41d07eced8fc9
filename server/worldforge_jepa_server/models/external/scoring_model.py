"""Models with a scoring method of their own: the inputs they get.

Letters: S samples, H horizon, A packed action dim, T context frames, P proprio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldforge_jepa_client.contract.spec import DYNAMIC, ModelSpec
from worldforge_jepa_client.contract.validate import proprio_weight
from worldforge_jepa_server.models.contract import (
    Latents,
    ModelLoadError,
    ModelScores,
    Observation,
    ScoreQuery,
    ScoringModel,
)
from worldforge_jepa_server.models.external.answers import read_answer
from worldforge_jepa_server.models.external.isolation import wrap_model_errors
from worldforge_jepa_server.models.external.latent_model import normalized
from worldforge_jepa_server.models.external.preprocess import UNCHANGED, Preprocessing

METHODS = ("score_actions", "score_action_candidates", "compute_scores", "get_cost")

_TENSOR_RANK = 3  # (1, T, ...): nested lists of `extra_info` from this rank on become tensors

Scorer = Callable[[str, dict[str, Any], Tensor], Any]
"""Calls a model's scoring method with the model's name, info and candidates [1, S, H, A]; returns its answer."""


def scoring_method(model: Any, past_in_candidates: bool = False) -> Scorer | None:
    """Return the first of `METHODS` that a model has, called as its name demands."""
    for name in METHODS:
        method = getattr(model, name, None)
        if callable(method):
            return _cost(method, past_in_candidates) if name == "get_cost" else _scores(method)
    return None


def own_shape(model: Any) -> tuple[int, ...] | None:
    """Return the shape of observation and goal that a model takes instead of frames: its `observation_shape`.

    Raises:
        ModelLoadError: not two sizes or more, each above 0 or `DYNAMIC`, or a model that takes frames only.
    """
    shape = getattr(model, "observation_shape", None)
    if shape is None:
        return None
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(sizes) < 2 or not all(type(size) is int and (size > 0 or size == DYNAMIC) for size in sizes):
        raise ModelLoadError(f"its observation_shape is {shape!r}; expected two sizes or more, {DYNAMIC} for any")
    if not any(callable(getattr(model, name, None)) for name in METHODS[:-1]):
        raise ModelLoadError(f"its observation_shape is for {', '.join(METHODS[:-1])}; other models take frames")
    return sizes


class ExternalScoringModel(ScoringModel):
    """A model with a scoring method of its own, behind the contract.

    Args:
        scorer: calls its scoring method.
        spec: its published spec.
        preprocessing: changes to observations and to tensors of `extra_info` before the call.
        error_detail: put the text of its exceptions into errors.
    """

    def __init__(
        self,
        scorer: Scorer,
        spec: ModelSpec,
        preprocessing: Preprocessing = UNCHANGED,
        error_detail: bool = False,
    ) -> None:
        self._scorer = scorer
        self._spec = spec
        self._preprocessing = preprocessing
        self._error_detail = error_detail

    @property
    def spec(self) -> ModelSpec:
        """See `ScoringModel.spec`."""
        return self._spec

    def encode(self, observation: Observation) -> Latents:
        """See `ScoringModel.encode`; frames stay bytes where no transform changes them, so that contexts stay small."""
        visual, proprio = observation.visual, observation.proprio
        with wrap_model_errors(f"{self._spec.name}.transform", self._error_detail):
            if self._preprocessing.transform is not None:
                visual = self._preprocessing.frames(visual)
        return Latents(visual, None if proprio is None else self._preprocessing.normalize("proprio", proprio))

    def normalize_actions(self, actions: Tensor) -> Tensor:
        """See `ScoringModel.normalize_actions`."""
        with wrap_model_errors(f"{self._spec.name}.normalize_actions", self._error_detail):
            return normalized(actions, self._spec, self._preprocessing)

    def score(self, query: ScoreQuery) -> ModelScores:
        """See `ScoringModel.score`."""
        info = self._info(query)
        errors = wrap_model_errors(f"{self._spec.name}'s own scoring", self._error_detail)
        with errors, torch.inference_mode(False), torch.no_grad():
            # Copied outside inference mode, so that a model may use gradients.
            owned = {key: _owned(value) for key, value in info.items()}
            answer = self._scorer(self._spec.name, owned, query.candidates.clone())
        return read_answer(answer, query.candidates.shape[1])

    def _info(self, query: ScoreQuery) -> dict[str, Any]:
        """Return the inputs beside the candidates: tensors, options, and the caller's own keys."""
        options, device = query.options, query.candidates.device
        observation, goal = query.observation.visual, query.goal.visual
        if not self._spec.takes_frames:
            observation, goal = observation[0, 0], goal[0, 0]
        tensors = {
            "observation": observation,
            "goal": goal,
            "observation_proprio": query.observation.proprio,
            "goal_proprio": query.goal.proprio,
            "action_history": query.action_history,
        }
        extra = {key: _tensor(value, device) for key, value in query.extra_info.items()}
        return {
            **{key: self._preprocessed(key, value) for key, value in extra.items()},
            "objective": (options.objective or self._spec.objective).value,
            "proprio_weight": proprio_weight(options, self._spec),
            "actions_are_normalized": True,
            **{name: tensor for name, tensor in tensors.items() if tensor is not None},
        }

    def _preprocessed(self, key: str, value: Any) -> Any:
        return self._preprocessing.normalize(key, value) if isinstance(value, Tensor) else value


def _owned(value: Any) -> Any:
    """Copy a tensor to float32: the model may write into it, and the original is used again."""
    return value.to(torch.float32, copy=True) if isinstance(value, Tensor) else value


def _tensor(value: Any, device: torch.device) -> Any:
    """Return nested lists of numbers (1, T, ...) as a float32 tensor, anything else as it is."""
    if not isinstance(value, list):
        return value
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        return value
    if array.ndim < _TENSOR_RANK or array.dtype.kind not in "iuf" or len(array) != 1:
        return value
    return torch.from_numpy(array.astype(np.float32)).to(device)


def _scores(method: Callable[..., Any]) -> Scorer:
    def call(name: str, info: dict[str, Any], candidates: Tensor) -> Any:
        return method(model_path=name, info=info, action_candidates=candidates)

    return call


def _cost(method: Callable[..., Any], past_in_candidates: bool) -> Scorer:
    """Call `get_cost(info, candidates)` in stable-worldmodel's names; every tensor once per candidate.

    The candidates are strictly future, and `info["action_history"]` has the actions between the frames; before
    stable-worldmodel's history buffer they came in one tensor, past actions first.
    """

    def call(_: str, info: dict[str, Any], candidates: Tensor) -> Any:
        history = info.get("action_history")
        named = {"action": candidates.new_zeros(1, 1, candidates.shape[-1]), **info, "pixels": info["observation"]}
        if "observation_proprio" in info:
            named["proprio"] = info["observation_proprio"]
        if past_in_candidates and history is not None:
            candidates = torch.cat([_per_sample(history, candidates), candidates], dim=2)
            named["action"] = history
            del named["action_history"]
        costs = method({key: _per_sample(value, candidates) for key, value in named.items()}, candidates)
        return {"scores": costs}

    return call


def _per_sample(value: Any, candidates: Tensor) -> Any:
    """Return a tensor [1, T, ...] once per sample, [1, S, T, ...]; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.unsqueeze(1).expand(-1, candidates.shape[1], *value.shape[1:])
