"""The node of examples/ros2, built against the stand-in for rclcpp, and what it is fed and what it prints.

rclcpp_stub/rclcpp/rclcpp.hpp says how: a message a line on stdin, a line of JSON for each publication and each callback
on stdout, the log on stderr, and the end of stdin as the shutdown.
"""

import asyncio
import contextlib
import json
import os
from pathlib import Path

import numpy as np

from tests.interop.hosts import ROOT, Host

STUB = Path(__file__).parent / "rclcpp_stub"
SECONDS = 30


class RosHost(Host):
    """A host that is a ROS 2 package."""

    @property
    def folder(self):
        return ROOT / "examples" / self.source.partition("/")[0]

    @property
    def reads(self):
        return (*super().reads, STUB)


PLAN_NODE = RosHost(
    "ROS 2",
    "ros2/plan_node.cpp",
    ("cmake", "c++", "protoc", "grpc_cpp_plugin"),
    f"cmake -B build -DCMAKE_PREFIX_PATH='{STUB}' && cmake --build build",
    "build/plan_node",
    "build/plan_node",
    ("GCC", "c++ --version", r"\) (\d+\.\d+)"),
)


class RunningNode:
    """A node that runs."""

    def __init__(self, process):
        self._process = process

    async def send(self, **messages):
        """Send a message to each topic; `__` stands for the slash in a topic's name."""
        for topic, message in messages.items():
            self._process.stdin.write(f"{topic.replace('__', '/')} {message}\n".encode())
        await self._process.stdin.drain()

    async def ran(self, callback, times=1):
        """Wait until a callback has run so many times more."""
        for _ in range(times):
            await self._until(lambda line: line.get("ran") == callback)

    async def published(self, topic):
        """Wait for a topic's next message."""
        return (await self._until(lambda line: line.get("topic") == topic))["message"]

    async def logged(self):
        """Wait for the next line of the log."""
        return (await asyncio.wait_for(self._process.stderr.readline(), SECONDS)).decode()

    async def end(self):
        """Shut the node down; its exit code and the rest of its log."""
        _, log = await asyncio.wait_for(self._process.communicate(b""), SECONDS)
        return self._process.returncode, log.decode()

    async def _until(self, wanted):
        async def read():
            while line := await self._process.stdout.readline():
                if wanted(found := json.loads(line)):
                    return found
            raise AssertionError("the node has ended")

        return await asyncio.wait_for(read(), SECONDS)


@contextlib.asynccontextmanager
async def running(target, environment=None, **parameters):
    """A node on a server, killed at the end if it still runs."""
    pipe, given = asyncio.subprocess.PIPE, {"target": target, "rate": 50.0, "deadline": 30.0} | parameters
    process = await asyncio.create_subprocess_exec(
        str(PLAN_NODE.folder / PLAN_NODE.made),
        "--ros-args",
        *(word for name, value in given.items() for word in ("-p", f"{name}:={value}")),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        env=os.environ | (environment or {}),
    )
    try:
        yield RunningNode(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def image(frame, encoding="rgb8", padding=0):
    """An Image of a frame, uint8 [3, height, width] RGB, with so many bytes after each row."""
    pixels = frame.transpose(1, 2, 0)[..., :: 1 if encoding == "rgb8" else -1]
    height, width = pixels.shape[:2]
    rows = np.pad(pixels.reshape(height, -1), ((0, 0), (0, padding)), constant_values=255)
    return f"{height} {width} {encoding} {rows.shape[1]} {rows.tobytes().hex()}"


def numbers(values):
    """A Float32MultiArray."""
    return " ".join(str(value) for value in values)
