"""The gateway of examples/many_robots.py: robots side by side, one of them too late."""

import asyncio

import numpy as np

from examples.many_robots import Gateway
from examples.two_room.env import Layout, observe

LAYOUT = Layout(40, 20)


def seen(x, y):
    observation = observe(np.array([x, y]), LAYOUT)
    return {"visual": observation["image"], "proprio": observation["proprio"]}


async def test_late_robot_delays_no_other(server):
    async with Gateway(server.target) as gateway:

        async def act(name, x, seconds):
            return await gateway.act(name, seen(x, 30), seen(20, 30), seconds=seconds)

        left, late, right = await asyncio.gather(act("left", 6, 60), act("late", 20, 0), act("right", 32, 60))
        assert late is None
        assert left.reshape(5, 2)[:, 0].sum() > 0 > right.reshape(5, 2)[:, 0].sum()  # each towards the goal
        assert (await act("late", 6, 60)).reshape(5, 2)[:, 0].sum() > 0
