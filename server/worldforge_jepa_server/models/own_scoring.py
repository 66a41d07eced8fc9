"""Models with a scoring method of their own: what they are told, and how strictly their answer is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldforge_jepa_client.calls import ScoreCall
from worldforge_jepa_client.errors import FailedPreconditionError, InternalError
from worldforge_jepa_client.spec import ModelSpec
from worldforge_jepa_server.models.contract import Latents, Observation, OwnScores, WorldModel
from worldforge_jepa_server.models.upstream import blaming

METHODS = ("score_actions", "score_action_candidates", "compute_scores", "get_cost")

Scorer = Callable[[ScoreCall, ModelSpec], Any]
"""Tells a model of a call; returns its answer, or None where the model leaves scoring to its latents."""


def own_method(model: Any) -> Scorer | None:
    """The first of `METHODS` that a model has, called as its name demands."""
    for name in METHODS:
        method = getattr(model, name, None)
        if callable(method):
            return _cost(method) if name == "get_cost" else _scores(method)
    return None


def _scores(method: Callable[..., Any]) -> Scorer:
    def ask(call: ScoreCall, spec: ModelSpec) -> Any:
        candidates = _tensor(call.action_candidates, spec)
        return method(model_path=spec.name, info=_info(call, spec), action_candidates=candidates)

    return ask


def _cost(method: Callable[..., Any]) -> Scorer:
    def ask(call: ScoreCall, spec: ModelSpec) -> Any:
        candidates = _tensor(call.action_candidates, spec)
        return {"scores": method(_per_sample(_info(call, spec), candidates), candidates)}

    return ask


def _info(call: ScoreCall, spec: ModelSpec) -> dict[str, Any]:
    """What the model is told besides the candidates: tensors on its device, options, and the caller's own keys."""
    arrays = {
        "observation": call.observation.visual,
        "goal": call.goal.visual,
        "observation_proprio": call.observation.proprio,
        "goal_proprio": call.goal.proprio,
        "action_history": call.action_history,
    }
    options = {
        "objective": (call.options.objective or spec.objective).value,
        "proprio_weight": spec.proprio_weight if call.options.proprio_weight is None else call.options.proprio_weight,
        "actions_are_normalized": call.options.actions_are_normalized,
    }
    tensors = {name: _tensor(array, spec) for name, array in arrays.items() if array is not None}
    return {**call.extra_info, **options, **tensors}


def _per_sample(info: dict[str, Any], candidates: Tensor) -> dict[str, Any]:
    """The same under the names and shapes that `get_cost` expects: every tensor once per sample, (1, S, T, ...)."""
    none_taken = candidates.new_zeros(1, 1, candidates.shape[-1])
    named = {**info, "pixels": info["observation"], "action": info.get("action_history", none_taken)}
    return {
        key: value.unsqueeze(1).expand(-1, candidates.shape[1], *value.shape[1:])
        if isinstance(value, Tensor)
        else value
        for key, value in named.items()
    }


def _tensor(array: Any, spec: ModelSpec) -> Tensor:
    dtype = torch.float32 if np.asarray(array).dtype.kind == "f" else None
    return torch.tensor(array, dtype=dtype, device=spec.device)


class OwnScoringModel:
    """A model that is asked for its scores first, and unrolled only where it gives none.

    Args:
        scorer: how it is asked.
        spec: what is published of it.
        latent: the same model by its latents, if it has them.
    """

    def __init__(self, scorer: Scorer, spec: ModelSpec, latent: WorldModel | None) -> None:
        self._scorer = scorer
        self._spec = spec
        self._latent = latent

    @property
    def spec(self) -> ModelSpec:
        """See `WorldModel.spec`."""
        return self._spec

    def score(self, call: ScoreCall) -> OwnScores | None:
        """See `SelfScoring.score`."""
        with blaming(f"{self._spec.name}'s own scoring"), torch.no_grad():
            answer = self._scorer(call, self._spec)
        if answer is None and self._latent is not None:
            return None
        return read_answer(answer, call.action_candidates.shape[1])

    def encode(self, observation: Observation) -> Latents:
        """See `WorldModel.encode`."""
        return self._latents().encode(observation)

    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """See `WorldModel.unroll`."""
        return self._latents().unroll(latents, actions, action_history)

    def normalize_actions(self, actions: Tensor) -> Tensor:
        """See `WorldModel.normalize_actions`."""
        return self._latents().normalize_actions(actions)

    def _latents(self) -> WorldModel:
        if self._latent is None:
            raise FailedPreconditionError(f"model {self._spec.name} only scores by itself", reason="NO_LATENTS")
        return self._latent


def read_answer(answer: Any, samples: int) -> OwnScores:
    """Check what a scoring method returned against what was asked.

    Raises:
        InternalError: what is wrong with it; the reason is stable. An error payload's reason is its type.
    """
    if not isinstance(answer, Mapping):
        raise _refused(f"is a {type(answer).__name__}; expected an object", "RESPONSE_NOT_AN_OBJECT")
    if answer.get("error") is not None:
        raise _failure(answer["error"])
    scores = _numbers(answer.get("scores"))
    if scores.size != samples:
        raise _refused(f"has {scores.size} scores for {samples} candidates", "WRONG_SCORE_COUNT")
    if not np.isfinite(scores).all():
        raise _refused("has NaN or infinite scores", "NON_FINITE_SCORES")
    lower_is_better = answer.get("lower_is_better", True)
    if not isinstance(lower_is_better, bool):
        raise _refused(f"has lower_is_better {lower_is_better!r}; expected true or false", "INVALID_DIRECTION")
    best = scores.argmin() if lower_is_better else scores.argmax()
    return OwnScores(scores, _best_index(answer, int(best), samples), lower_is_better, _metadata(answer))


def _numbers(scores: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    if scores is None:
        raise _refused("has no scores", "MISSING_SCORES")
    if isinstance(scores, Tensor):
        scores = scores.detach().cpu()
        scores = scores.float() if scores.is_floating_point() else scores
    try:
        values = np.asarray(scores)
    except ValueError:  # ragged
        values = np.asarray(None)
    if values.dtype.kind not in "iuf":
        raise _refused("has scores that are not numbers", "INVALID_SCORES")
    with np.errstate(over="ignore"):  # to infinity, which is refused by its name
        return values.astype(np.float32).reshape(-1)


def _best_index(answer: Mapping[Any, Any], best: int, samples: int) -> int:
    given = answer.get("best_index")
    if given is None:
        return best
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < samples:
        raise _refused(f"has best_index {given!r} for {samples} candidates", "INVALID_BEST_INDEX")
    return given


def _metadata(answer: Mapping[Any, Any]) -> Mapping[str, Any]:
    metadata = answer.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise _refused(f"has metadata of type {type(metadata).__name__}; expected an object", "INVALID_METADATA")
    try:
        decoded: Mapping[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise _refused(f"has metadata that is not JSON: {error}", "INVALID_METADATA") from error
    return decoded


def _failure(error: Any) -> InternalError:
    if not isinstance(error, Mapping):
        return _refused(f"has an error of type {type(error).__name__}; expected an object", "INVALID_ERROR")
    kind = str(error.get("type") or "model_failed")
    reason = "".join(letter if letter.isalnum() else "_" for letter in kind).upper()[:63]
    return InternalError(f"the model says {kind}: {error.get('message') or 'no message'}", reason=reason)


def _refused(problem: str, reason: str) -> InternalError:
    return InternalError(f"the model's response {problem}", reason=reason)
