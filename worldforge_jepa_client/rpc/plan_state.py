"""The progress of a plan, without I/O: the latest iteration, and the result that it stands for."""

from __future__ import annotations

from typing import Any

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import PlanProgress, PlanResult
from worldforge_jepa_client.errors import CallCancelledError, DeadlineExceededError, InternalError, JepaError


class PlanState:
    """Keeps the latest iteration of a plan.

    Attributes:
        latest: the plan after the last iteration that was read; None before the first.
    """

    def __init__(self) -> None:
        self.latest: PlanProgress | None = None

    def note(self, response: Any) -> PlanProgress:
        """Decode a response and keep it."""
        self.latest = wire.plan_progress(response)
        return self.latest

    def stop(self, error: JepaError) -> None:
        """Raise the error that ended the call, unless it leaves a plan: the deadline and a cancel do."""
        if self.latest is None or not isinstance(error, (DeadlineExceededError, CallCancelledError)):
            raise error

    def result(self) -> PlanResult:
        """Return the plan after the latest iteration; InternalError before the first."""
        last = self.latest
        if last is None:
            raise InternalError("the server ended the plan before its first iteration")
        return PlanResult(
            actions=last.mean,
            best_actions=last.best_actions,
            score=last.best_score,
            iterations=last.iteration,
            complete=last.iteration == last.iterations,
            timing=last.timing,
        )
