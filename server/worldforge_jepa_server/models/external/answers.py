"""The check of what a model's scoring method returned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worldforge_jepa_client.errors import InternalError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.models.contract import ModelScores


def read_answer(answer: Any, samples: int) -> ModelScores:
    """Check the answer of a scoring method against the number of candidates.

    A candidate may have the infinitely bad score, inf where lower is better: never to be chosen.

    Raises:
        InternalError: the answer is malformed, or reports an error; an error payload's reason is its type.
    """
    if not isinstance(answer, Mapping):
        raise _refused(f"is a {type(answer).__name__}; expected an object", Reason.INVALID_RESPONSE)
    if answer.get("error") is not None:
        raise _failure(answer["error"])
    scores = _numbers(answer.get("scores"))
    if scores.size != samples:
        raise _refused(f"has {scores.size} scores for {samples} candidates", Reason.INVALID_SCORES)
    lower_is_better = answer.get("lower_is_better", True)
    if not isinstance(lower_is_better, bool):
        raise _refused(f"has lower_is_better {lower_is_better!r}; expected true or false", Reason.INVALID_RESPONSE)
    _check_numbers(scores, lower_is_better)
    best = int(scores.argmin() if lower_is_better else scores.argmax())
    return ModelScores(scores, _best_index(answer, best, scores), lower_is_better, _metadata(answer))


def _check_numbers(scores: NDArray[np.float32], lower_is_better: bool) -> None:
    never = np.inf if lower_is_better else -np.inf
    if not (np.isfinite(scores) | (scores == never)).all():
        raise _refused(
            f"has NaN or infinite scores; only {never} is one, of a candidate that is never to be chosen",
            Reason.NON_FINITE_SCORES,
        )


def _numbers(scores: Any) -> NDArray[np.float32]:
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
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32).reshape(-1)
    if (np.isinf(narrow) & np.isfinite(values.reshape(-1))).any():
        raise _refused("has finite scores beyond float32", Reason.NON_FINITE_SCORES)
    return narrow


def _best_index(answer: Mapping[Any, Any], best: int, scores: NDArray[np.float32]) -> int:
    """Return the model's choice, which has to be one of the best, or else the first of them."""
    given = answer.get("best_index")
    if given is None:
        return best
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < len(scores):
        raise _refused(f"has best_index {given!r} for {len(scores)} candidates", Reason.INVALID_RESPONSE)
    if scores[given] != scores[best]:
        raise _refused(
            f"has best_index {given} of score {scores[given]:g}; candidate {best} is better, {scores[best]:g}",
            Reason.INVALID_RESPONSE,
        )
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
