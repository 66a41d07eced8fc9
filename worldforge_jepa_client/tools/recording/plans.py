"""The plans of a recording: the iterations of each session and of each Plan, with the scene they were made in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from worldforge_jepa_client import wire
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.v1.recording_pb2 import RecordedCall
from worldforge_jepa_client.wire.scoring import decode_observation

Frame = npt.NDArray[np.uint8]
_ELITES = 10


@dataclass
class Plan:
    """One session or one Plan.

    Attributes:
        title: what it is, for a reader.
        frames: the newest scene's, uint8 (3, height, width), by "now" and "goal".
        curves: for each iteration a number, by name.
        milliseconds: the server's time for each iteration, by stage.
        costs: those of the last iteration, float32 [S]; empty for a Plan, which sends none.
    """

    title: str
    frames: dict[str, Frame] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    costs: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def see(self, scene: Any) -> None:
        """Take the frames of a PlanningContext, those that it has."""
        for name, part in (("now", "observation"), ("goal", "goal")):
            if scene.HasField(part):
                self.frames[name] = _frame(getattr(scene, part))

    def iterate(self, timing: Any, **values: Any) -> None:
        """Add one iteration."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(float(value))
        for name, us in vars(wire.scoring.timing(timing)).items():
            self.milliseconds.setdefault(name.removesuffix("_us"), []).append(us / 1e3)


def plans(calls: Iterable[RecordedCall]) -> list[Plan]:
    """Return the plans that have an iteration, in the order in which they began."""
    streams: dict[int, Plan] = {}
    found: list[Plan] = []
    contexts: dict[str, Any] = {}
    for number, call in enumerate(calls, 1):
        if call.method == "CreateContext" and call.responses:
            answer = jepa_pb2.CreateContextResponse.FromString(call.responses[0])
            contexts[answer.context_id] = jepa_pb2.CreateContextRequest.FromString(call.request).context
        elif call.method == "ScoreStream":
            if call.stream not in streams:
                streams[call.stream] = Plan(f"Session {call.stream}")
                found.append(streams[call.stream])
            _add_answer(streams[call.stream], call)
        elif call.method == "Plan":
            found.append(_plan(f"Plan, call {number}", call, contexts))
    return [plan for plan in found if plan.curves]


def _add_answer(plan: Plan, call: RecordedCall) -> None:
    answer = jepa_pb2.ScoreStreamResponse.FromString(call.responses[0]) if call.responses else None
    if answer is None or answer.HasField("error"):
        return
    plan.see(jepa_pb2.ScoreStreamRequest.FromString(call.request).context)
    if answer.HasField("score"):
        costs = wire.score_result(answer.score).costs
        plan.costs = costs[np.isfinite(costs)]
        best = np.sort(plan.costs)[:_ELITES]
        if best.size:
            plan.iterate(answer.score.timing, best=best[0], elite=np.median(best), median=np.median(plan.costs))


def _plan(title: str, call: RecordedCall, contexts: dict[str, Any]) -> Plan:
    request = jepa_pb2.PlanRequest.FromString(call.request)
    plan = Plan(title)
    scene = request.context if request.WhichOneof("scene") == "context" else contexts.get(request.context_id)
    if scene is not None:
        plan.see(scene)
    for data in call.responses:
        answer = jepa_pb2.PlanResponse.FromString(data)
        plan.iterate(answer.timing, best=answer.best_score, mean=answer.mean_score)
    return plan


def _frame(message: Any) -> Frame:
    """Return the newest frame of an Observation."""
    visual = decode_observation(message, "observation").visual
    frame: Frame = np.clip(visual[0, -1], 0, 255).astype(np.uint8)
    return frame
