"""Models with a scoring method of their own: what they are told, and how strictly their answer is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.validate import proprio_weight
from worldforge_jepa_client.errors import InternalError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.models.contract import Latents, ModelScores, Observation, ScoreQuery, ScoringModel
from worldforge_jepa_server.models.external.latent_model import normalized, wrap_model_errors

METHODS = ("score_actions", "score_action_candidates", "compute_scores", "get_cost")

Scorer = Callable[[ScoreQuery, ModelSpec], Any]
"""Asks a model; returns what it answered."""


def scoring_method(model: Any) -> Scorer | None:
    """The first of `METHODS` that a model has, called as its name demands."""
    for name in METHODS:
        method = getattr(model, name, None)
        if callable(method):
            return _cost(method) if name == "get_cost" else _scores(method)
    return None


class ExternalScoringModel(ScoringModel):
    """A model that is asked for its scores.

    Args:
        scorer: how it is asked.
        spec: what is published of it.
    """

    def __init__(self, scorer: Scorer, spec: ModelSpec) -> None:
        self._scorer = scorer
        self._spec = spec

    @property
    def spec(self) -> ModelSpec:
        """See `ScoringModel.spec`."""
        return self._spec

    def encode(self, observation: Observation) -> Latents:
        """See `ScoringModel.encode`."""
        return Latents(observation.visual, observation.proprio)

    def normalize_actions(self, actions: Tensor) -> Tensor:
        """See `ScoringModel.normalize_actions`."""
        return normalized(actions, self._spec)

    def score(self, query: ScoreQuery) -> ModelScores:
        """See `ScoringModel.score`."""
        with wrap_model_errors(f"{self._spec.name}'s own scoring"), torch.inference_mode(False), torch.no_grad():
            answer = self._scorer(query, self._spec)
        return read_answer(answer, query.candidates.shape[1])


def _scores(method: Callable[..., Any]) -> Scorer:
    def ask(query: ScoreQuery, spec: ModelSpec) -> Any:
        return method(model_path=spec.name, info=_info(query, spec), action_candidates=query.candidates.clone())

    return ask


def _cost(method: Callable[..., Any]) -> Scorer:
    def ask(query: ScoreQuery, spec: ModelSpec) -> Any:
        info, candidates = _info(query, spec), query.candidates.clone()
        none_taken = candidates.new_zeros(1, 1, candidates.shape[-1])
        named = {**info, "pixels": info["observation"], "action": info.get("action_history", none_taken)}
        if query.action_history is not None:
            # Such a model pairs the first T actions with the T frames it sees.
            candidates = torch.cat([_per_sample(query.action_history, candidates), candidates], dim=2)
        return {"scores": method({key: _per_sample(value, candidates) for key, value in named.items()}, candidates)}

    return ask


def _info(query: ScoreQuery, spec: ModelSpec) -> dict[str, Any]:
    """What the model is told besides the candidates: tensors, options, and the caller's own keys."""
    options = query.options
    tensors = {
        "observation": query.observation.visual,
        "goal": query.goal.visual,
        "observation_proprio": query.observation.proprio,
        "goal_proprio": query.goal.proprio,
        "action_history": query.action_history,
    }
    return {
        **query.extra_info,
        "objective": (options.objective or spec.objective).value,
        "proprio_weight": proprio_weight(options, spec),
        "actions_are_normalized": True,
        # Copies, as of the candidates: whoever is told may write into them, and others go on using them.
        **{name: tensor.clone() for name, tensor in tensors.items() if tensor is not None},
    }


def _per_sample(value: Any, candidates: Tensor) -> Any:
    """A tensor once per sample, (1, S, T, ...), as `get_cost` expects them; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    return value.unsqueeze(1).expand(-1, candidates.shape[1], *value.shape[1:])


def read_answer(answer: Any, samples: int) -> ModelScores:
    """Check what a scoring method returned against what was asked.

    Raises:
        InternalError: what is wrong with it; the reason is stable. An error payload's reason is its type.
    """
    if not isinstance(answer, Mapping):
        raise _refused(f"is a {type(answer).__name__}; expected an object", Reason.INVALID_RESPONSE)
    if answer.get("error") is not None:
        raise _failure(answer["error"])
    scores = _numbers(answer.get("scores"))
    if scores.size != samples:
        raise _refused(f"has {scores.size} scores for {samples} candidates", Reason.INVALID_SCORES)
    if not np.isfinite(scores).all():
        raise _refused("has NaN or infinite scores", Reason.NON_FINITE_SCORES)
    lower_is_better = answer.get("lower_is_better", True)
    if not isinstance(lower_is_better, bool):
        raise _refused(f"has lower_is_better {lower_is_better!r}; expected true or false", Reason.INVALID_RESPONSE)
    best = scores.argmin() if lower_is_better else scores.argmax()
    return ModelScores(scores, _best_index(answer, int(best), samples), lower_is_better, _metadata(answer))


def _numbers(scores: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    if scores is None:
        raise _refused("has no scores", Reason.INVALID_SCORES)
    if isinstance(scores, Tensor):
        scores = scores.detach().cpu()
        scores = scores.float() if scores.is_floating_point() else scores
    try:
        values = np.asarray(scores)
    except ValueError:  # ragged
        values = np.asarray(None)
    if values.dtype.kind not in "iuf":
        raise _refused("has scores that are not numbers", Reason.INVALID_SCORES)
    with np.errstate(over="ignore"):  # to infinity, which is refused by its name
        return values.astype(np.float32).reshape(-1)


def _best_index(answer: Mapping[Any, Any], best: int, samples: int) -> int:
    given = answer.get("best_index")
    if given is None:
        return best
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < samples:
        raise _refused(f"has best_index {given!r} for {samples} candidates", Reason.INVALID_RESPONSE)
    return given


def _metadata(answer: Mapping[Any, Any]) -> Mapping[str, Any]:
    metadata = answer.get("metadata", {})
    if not isinstance(metadata, Mapping):
        raise _refused(f"has metadata of type {type(metadata).__name__}; expected an object", Reason.INVALID_RESPONSE)
    try:
        decoded: Mapping[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise _refused(f"has metadata that is not JSON: {error}", Reason.INVALID_RESPONSE) from error
    return decoded


def _failure(error: Any) -> InternalError:
    if not isinstance(error, Mapping):
        return _refused(f"has an error of type {type(error).__name__}; expected an object", Reason.INVALID_RESPONSE)
    kind = str(error.get("type") or "model_failed")
    reason = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in kind).upper()[:63]
    return InternalError(f"the model says {kind}: {error.get('message') or 'no message'}", reason=reason)


def _refused(problem: str, reason: str) -> InternalError:
    return InternalError(f"the model's response {problem}", reason=reason)
