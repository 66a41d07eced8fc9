"""Checks of the steps and candidates that an unroll returns."""

from __future__ import annotations

from collections.abc import Sequence

from worldforge_jepa_client.contract.types import UnrollCall
from worldforge_jepa_client.errors import OutOfRangeError, invalid
from worldforge_jepa_client.reasons import Reason


def check_selection(call: UnrollCall) -> None:
    """Check the steps and candidates that an unroll is asked for; messages name the first entry that is wrong.

    Raises:
        OutOfRangeError: more entries than the candidates have steps or samples.
        InvalidArgumentError: steps that do not rise from 1 to H, samples that repeat or are not from 0 to S - 1.
    """
    _, samples, horizon, _ = call.action_candidates.shape
    check_length(call.steps, horizon, "steps")
    check_length(call.samples, samples, "samples")
    _check_steps(call.steps, horizon)
    _check_samples(call.samples, samples)


def _check_steps(steps: Sequence[int], horizon: int) -> None:
    before = 0
    for index, step in enumerate(steps):
        if not before < step <= horizon:
            problem = f"has {step} at index {index}; expected rising steps from 1 to {horizon}"
            raise invalid("steps", problem, Reason.INVALID_VALUE)
        before = step


def _check_samples(chosen: Sequence[int], samples: int) -> None:
    seen = set()
    for index, sample in enumerate(chosen):
        if sample in seen or not 0 <= sample < samples:
            problem = f"has {sample} at index {index}; expected different candidates from 0 to {samples - 1}"
            raise invalid("samples", problem, Reason.INVALID_VALUE)
        seen.add(sample)


def check_length(entries: Sequence[int], most: int, field: str) -> None:
    """Refuse more entries than the candidates have steps or samples."""
    if len(entries) > most:
        problem = f"has {len(entries)} entries; the candidates have {most}"
        raise OutOfRangeError(problem, reason=Reason.LIMIT_EXCEEDED, field=field)
