"""A gateway of several robots: one process that plans for each of them on a shared server, within its deadline.

Each robot has a session of its own, so its scene goes to the server once. It also has a client of its own, whose
affinity is the robot's name: the server shares its device fairly between clients, and a proxy can keep a robot's calls
at one server. A robot that gets no plan in time is told so, and the others do not wait for it.

Letters: H horizon, A packed action dim.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from worldforge_jepa_client import AsyncClient, AsyncSession, ModelSpec
from worldforge_jepa_client.errors import DeadlineExceededError
from worldforge_jepa_client.planning import CEM, shift_plan

if TYPE_CHECKING:
    from typing_extensions import Self

Floats = npt.NDArray[np.float32]

HORIZON, SAMPLES, ITERATIONS = 3, 64, 4


class Robot:
    """One robot's session, and the plan that its next one starts from."""

    def __init__(self, session: AsyncSession, model: ModelSpec) -> None:
        self._session, self._model = session, model
        self._mean: Floats = np.zeros((HORIZON, model.action_dim), np.float32)

    async def act(self, observation: Any, goal: Any, seconds: float) -> Floats | None:
        """Return the first normalized action of a plan, [A]; None where no iteration ended in time."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        await self._session.observe(observation)
        await self._session.set_goal(goal)
        planner = CEM(
            horizon=HORIZON, action_dim=self._model.action_dim, rng=0, samples=SAMPLES, initial_mean=self._mean
        )
        try:
            for _ in range(ITERATIONS):
                result = await self._session.score(planner.ask(), timeout=max(0.0, deadline - clock()))
                planner.tell(result.costs)
        except DeadlineExceededError:
            if planner.iterations == 0:
                return None
        self._mean = shift_plan(planner.mean, 1)
        action: Floats = planner.mean[0]
        return action


class Gateway:
    """Plans for robots by name; each is connected at its first `act`. Calls of different robots run side by side."""

    def __init__(self, target: str) -> None:
        self._target, self._open = target, AsyncExitStack()
        self._robots: dict[str, Robot] = {}

    async def act(self, name: str, observation: Any, goal: Any, *, seconds: float) -> Floats | None:
        """Return the next action of a robot, as `Robot.act` does; one call of a robot at a time.

        Args:
            name: of the robot.
            observation: as for `Client.score`, as is the goal.
            goal: the observation to reach.
            seconds: until the robot needs the action, once it is connected.
        """
        if name not in self._robots:
            self._robots[name] = await self._connect(name, observation, goal)
        return await self._robots[name].act(observation, goal, seconds)

    async def _connect(self, name: str, observation: Any, goal: Any) -> Robot:
        client = await self._open.enter_async_context(AsyncClient(self._target, affinity=name))
        session = await self._open.enter_async_context(client.session(observation=observation, goal=goal))
        return Robot(session, await client.model())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()
