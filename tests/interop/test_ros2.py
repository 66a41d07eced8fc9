"""The ROS 2 node of examples/ros2, on a stand-in for rclcpp: it plans what Python plans, and never blocks its executor."""

import asyncio

import grpc
import numpy as np
import pytest

from tests.interop.hosts import build
from tests.interop.ros_node import PLAN_NODE, SECONDS, image, numbers, running
from tests.security.certificates import TOKENS
from tests.support.scenes import scene
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc

SETTINGS = {"horizon": 3, "samples": 32, "iterations": 3, "seed": 7}
MODEL = jepa_pb2.Model(action_dim=2, normalization={"action_mean": [1, 2], "action_std": [2, 3]})
PLAN = jepa_pb2.PlanResponse(
    iteration=1,
    best_score=0.25,
    best_actions={"dtype": "DATA_TYPE_FLOAT32", "shape": [1, 2], "data": np.array([0.5, 1], np.float32).tobytes()},
)


@pytest.fixture(scope="module", autouse=True)
def built():
    build(PLAN_NODE)


class Paused(jepa_pb2_grpc.WorldModelServiceServicer):
    """Answers a plan when told to.

    Attributes:
        requests: those that came.
        proceed: released once for each answer.
        cancelled: set when a plan is cancelled by its caller.
    """

    def __init__(self):
        self.requests, self.proceed, self.cancelled = asyncio.Queue(), asyncio.Semaphore(0), asyncio.Event()

    async def GetModel(self, request, context):  # noqa: N802
        return jepa_pb2.GetModelResponse(model=MODEL)

    async def Plan(self, request, context):  # noqa: N802
        await self.requests.put(request)
        try:
            await self.proceed.acquire()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        yield PLAN

    async def shade(self):
        """Wait for the next request; the first value of its frame."""
        request = await asyncio.wait_for(self.requests.get(), SECONDS)
        return request.context.observation.visual.data[0]


@pytest.fixture
async def paused():
    """A server that answers plans when told to, and its address."""
    servicer, server = Paused(), grpc.aio.server()
    jepa_pb2_grpc.add_WorldModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


def messages():
    """The scene as messages: rows of the image are padded, the goal is in BGR."""
    now, goal = scene()["observation"], scene()["goal"]
    return {
        "image": image(now["visual"], padding=7),
        "goal__image": image(goal["visual"], "bgr8"),
        "state": numbers(now["proprio"]),
        "goal__state": numbers(goal["proprio"]),
    }


def plain(shade):
    return image(np.full((3, 4, 4), shade, np.uint8))


async def test_node_publishes_the_action_that_python_plans(client, server):
    plan, model = client.plan(**scene(), **SETTINGS).result(), client.model()
    async with running(server.target, **SETTINGS) as node:
        await node.send(**messages())
        action, score = await node.published("action"), await node.published("score")
        assert await node.end() == (0, "")
    statistics, packed = model.normalization, plan.best_actions[0].reshape(model.frameskip, -1)
    raw = packed * np.float32(statistics.action_std) + np.float32(statistics.action_mean)
    np.testing.assert_allclose(np.float32(action["data"]), raw.ravel(), rtol=1e-6)  # some compilers fuse the two
    assert action["layout"] == [["step", *raw.shape[:1], raw.size], ["action", *raw.shape[1:] * 2]]
    assert np.float32(score) == np.float32(plan.score)


async def test_executor_goes_on_while_a_plan_is_in_flight(paused):
    server, target = paused
    async with running(target) as node:
        await node.send(goal__image=plain(0), image=plain(1))
        assert await server.shade() == 1
        for newer in (2, 3):
            await node.send(image=plain(newer))
            await node.ran("image")
        await node.ran("timer", 5)
        assert server.requests.empty(), "one call at a time"
        server.proceed.release()
        assert (await node.published("action"))["data"] == [2, 5]
        assert await server.shade() == 3, "the newest frame"
        server.proceed.release()
        await node.published("action")
        await node.ran("timer", 5)
        assert server.requests.empty(), "no new frame"


async def test_node_ends_with_a_plan_in_flight(paused):
    server, target = paused
    async with running(target) as node:
        await node.send(goal__image=plain(0), image=plain(1))
        await server.shade()
        assert await node.end() == (0, "")
    await asyncio.wait_for(server.cancelled.wait(), SECONDS)


async def test_best_plan_so_far_counts_at_the_deadline(server):
    async with running(server.target, iterations=10_000, samples=64, deadline=0.5) as node:
        await node.send(**messages())
        assert len((await node.published("action"))["data"]) == 10
        assert await node.end() == (0, "")


async def test_unreachable_server_is_one_line(dead_target):
    async with running(dead_target) as node:
        await node.send(**messages())
        assert "no plan: status 14" in await node.logged()
        for _ in range(4):
            await node.send(image=plain(0))
            await node.ran("timer", 5)
        assert await node.end() == (0, "")


async def test_refused_call_is_logged_with_its_reason(server):
    async with running(server.target, model="absent") as node:
        await node.send(**messages())
        assert "status 5 MODEL_NOT_FOUND: " in await node.logged()


async def test_unreadable_image_is_logged(server):
    async with running(server.target) as node:
        await node.send(**messages() | {"image": "1 1 mono8 1 00"})
        assert "rgb8 or bgr8" in await node.logged()


async def test_node_shows_a_token_and_checks_the_certificate(secured_server, credentials):
    known = {"WORLDFORGE_JEPA_CACERT": credentials.cacert}
    async with running(secured_server.target, known | {"WORLDFORGE_JEPA_TOKEN": TOKENS["arm"]}, **SETTINGS) as node:
        await node.send(**messages())
        assert await node.published("action")
    async with running(secured_server.target, known) as node:
        await node.send(**messages())
        assert "status 16 NO_TOKEN: " in await node.logged()
