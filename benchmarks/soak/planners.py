"""The planners of the soak: sessions that score candidates whose scores are known."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.scene import candidates, two_rooms
from worldforge_jepa_client import AsyncClient
from worldforge_jepa_client.errors import JepaError

PLANNERS, SAMPLES, HORIZON = 4, 300, 6
_Floats = npt.NDArray[np.float32]

_SETS, _PAUSE, _TOLERANCE = 8, 0.2, 1e-3


@dataclass
class Outcome:
    """The seconds of each score, how many were wrong, and the errors."""

    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    errors: list[str] = field(default_factory=list)


async def plan(target: str, seconds: float) -> Outcome:
    """Score on four connections for so long, as robots do that act between two scores."""
    outcome, proposed = Outcome(), [candidates(SAMPLES, HORIZON, seed) for seed in range(_SETS)]
    async with AsyncClient(target, timeout=60) as client:
        expected = [(await client.score(**two_rooms(), action_candidates=each)).scores for each in proposed]
    deadline = time.perf_counter() + seconds
    await asyncio.gather(*(_planner(target, proposed, expected, deadline, outcome) for _ in range(PLANNERS)))
    return outcome


async def _planner(
    target: str,
    proposed: list[npt.NDArray[np.float32]],
    expected: list[npt.NDArray[np.float32]],
    deadline: float,
    outcome: Outcome,
) -> None:
    number = 0
    async with AsyncClient(target, timeout=60) as client, client.session(**two_rooms()) as session:
        while (began := time.perf_counter()) < deadline:
            number = (number + 1) % _SETS
            try:
                scores = (await session.score(proposed[number])).scores
            except JepaError as error:
                outcome.errors.append(f"{error.reason}: {error}")
                continue
            outcome.seconds.append(time.perf_counter() - began)
            outcome.wrong += not np.allclose(scores, expected[number], rtol=_TOLERANCE)
            await asyncio.sleep(_PAUSE)
