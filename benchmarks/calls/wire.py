"""(a) The cost of a call, and its ratio to a raw socket's, with a model that costs next to nothing.

S is candidates (1, 300, 6, 10) float32, 72 KB; M is S with an observation and a goal of 224 x 224 x 3 uint8, 372 KB;
L is S with the same two in float32, 1.28 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from benchmarks.calls.baselines import LENGTH, SERVICE, SHAPE, receive
from benchmarks.harness import Seconds, Variant, awaiting, calling, interleave, median
from benchmarks.report import Table, Target, grouped_bars, p50_p99
from benchmarks.servers import serving, started
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc
from worldforge_jepa_client.wire import tensors

SECONDS, CALLS = 45, 20
RAW, UNARY, BIDI, THREADED, STREAM = (
    "raw Unix socket",
    "plain grpc.aio unary",
    "plain grpc.aio bidi",
    "plain bidi, scored on a thread",
    "stream",
)
CLIENT_ALONE, SERVER_ALONE = "stream of our client, plain server", "plain bidi, our server"
_SAMPLES, _HORIZON = SHAPE[1:3]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Payload:
    """Candidates, and a frame that is observation and goal; S comes with a frame of a few bytes."""

    name: str
    candidates: npt.NDArray[np.float32]
    frame: Array

    @property
    def has_scene(self) -> bool:
        """True if the scene's bytes count."""
        return self.name != "S"


def measure(effort: float) -> Table:
    """Call each variant with each payload, in turns."""
    loop = asyncio.new_event_loop()
    with contextlib.ExitStack() as stack:
        variants: dict[str, Variant] = {}
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        floor = stack.enter_context(started("benchmarks.calls.baselines", str(directory / "socket")))
        server = stack.enter_context(serving("--model", "trivial", "--threads", "1", module="benchmarks.trivial"))
        raw = stack.enter_context(contextlib.closing(_connect(directory / "socket")))
        client = stack.enter_context(Client(server.target, timeout=60))
        beside = stack.enter_context(Client(floor.target, timeout=60))
        opened = loop.run_until_complete(_open(server.target, floor.target))
        for payload in _payloads():
            every = {
                RAW: _raw(raw, payload),
                **_plain(loop, opened.channel, payload),
                **_blocking(stack, client, payload),
                "stream, asyncio": _async_stream(loop, opened.client, payload),
                CLIENT_ALONE: _stream(stack, beside, payload),
                SERVER_ALONE: _plain_to_ours(loop, opened.server_channel, payload),
            }
            variants |= {f"{name} {payload.name}": variant for name, variant in every.items()}
        taken = interleave(variants, SECONDS * effort, calls=CALLS)
        loop.run_until_complete(opened.close())
    return _table(taken)


def _payloads() -> list[Payload]:
    rng = np.random.default_rng(0)
    candidates = rng.standard_normal(SHAPE, np.float32)
    image = rng.integers(0, 256, (1, 1, 3, 224, 224), np.uint8)
    frames = {"S": image[..., :8, :8], "M": image, "L": image.astype(np.float32)}
    return [Payload(name, candidates, frame) for name, frame in frames.items()]


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return connection


@dataclass(frozen=True)
class _Opened:
    client: AsyncClient
    channel: grpc.aio.Channel
    server_channel: grpc.aio.Channel

    async def close(self) -> None:
        for each in (self.client, self.channel, self.server_channel):
            await each.close()


async def _open(target: str, floor: str) -> _Opened:
    options = [("grpc.max_send_message_length", -1)]
    channels = [grpc.aio.insecure_channel(each, options=options) for each in (floor, target)]
    return _Opened(AsyncClient(target, timeout=60), *channels)


def _raw(connection: socket.socket, payload: Payload) -> Variant:
    def call() -> None:
        frames = payload.frame.tobytes() * 2 if payload.has_scene else b""
        content = payload.candidates.tobytes() + frames
        connection.sendall(LENGTH.pack(len(content)))
        connection.sendall(content)
        scores = receive(connection, _SAMPLES * 4)
        assert scores is not None
        np.frombuffer(scores, np.float32)

    return calling(call)


def _plain(loop: asyncio.AbstractEventLoop, channel: grpc.aio.Channel, payload: Payload) -> dict[str, Variant]:
    """The same messages and codec as the service's, on gRPC alone."""
    codec = (jepa_pb2.ScoreRequest.SerializeToString, jepa_pb2.ScoreResponse.FromString)
    unary = channel.unary_unary(f"/{SERVICE}/Unary", *codec)
    streams: dict[str, Any] = {}

    async def exchange(method: str) -> Any:
        if method not in streams:
            streams[method] = channel.stream_stream(f"/{SERVICE}/{method}", *codec)()
        await streams[method].write(_request(payload))
        return await streams[method].read()

    async def scored(call: Callable[[], Awaitable[Any]]) -> None:
        np.array((await call()).scores, np.float32)

    return {
        UNARY: awaiting(loop, lambda: scored(lambda: unary(_request(payload)))),
        BIDI: awaiting(loop, lambda: scored(lambda: exchange("Bidi"))),
        THREADED: awaiting(loop, lambda: scored(lambda: exchange("Threaded"))),
    }


def _plain_to_ours(loop: asyncio.AbstractEventLoop, channel: grpc.aio.Channel, payload: Payload) -> Variant:
    """A session's messages to the server, and its answers, without the client."""
    stub = jepa_pb2_grpc.WorldModelServiceStub(channel)
    opened: list[Any] = []

    async def exchange() -> None:
        request = jepa_pb2.ScoreStreamRequest()
        tensors.encode(payload.candidates, request.action_candidates)
        if not opened:
            opened.append(stub.ScoreStream())
            _fill_scene(payload, request)
        await opened[0].write(request)
        np.array((await opened[0].read()).score.scores, np.float32)

    return awaiting(loop, exchange)


def _request(payload: Payload) -> jepa_pb2.ScoreRequest:
    request = jepa_pb2.ScoreRequest()
    tensors.encode(payload.candidates, request.action_candidates)
    if payload.has_scene:
        _fill_scene(payload, request)
    return request


def _fill_scene(payload: Payload, request: Any) -> None:
    tensors.encode(payload.frame, request.context.observation.visual)
    tensors.encode(payload.frame, request.context.goal.visual)


def _blocking(stack: contextlib.ExitStack, client: Client, payload: Payload) -> dict[str, Variant]:
    scene: dict[str, Any] = {"observation": payload.frame, "goal": payload.frame}
    candidates = payload.candidates
    context = client.create_context(**scene)

    def plan(iterations: int) -> list[float]:
        progress = client.plan(context=context, samples=_SAMPLES, horizon=_HORIZON, iterations=iterations)
        arrivals = [time.perf_counter(), *(time.perf_counter() for _ in progress)]
        steps: list[float] = np.diff(arrivals).tolist()
        return steps

    return {
        "unary": calling(lambda: client.score(**scene, action_candidates=candidates)),
        "context": calling(lambda: client.score(context=context, action_candidates=candidates)),
        STREAM: _stream(stack, client, payload),
        "Plan, an iteration": plan,
    }


def _stream(stack: contextlib.ExitStack, client: Client, payload: Payload) -> Variant:
    session = stack.enter_context(client.session(observation=payload.frame, goal=payload.frame))
    return calling(lambda: session.score(payload.candidates))


def _async_stream(loop: asyncio.AbstractEventLoop, client: AsyncClient, payload: Payload) -> Variant:
    session = client.session(observation=payload.frame, goal=payload.frame)
    return awaiting(loop, lambda: session.score(payload.candidates))


def _table(taken: dict[str, Seconds]) -> Table:
    names = list(dict.fromkeys(name[:-2] for name in taken))
    columns = ["us per call", *(f"{size} {what}" for size in "SML" for what in ("p50", "p99", "x raw"))]
    times = {name: median(seconds) * 1e6 for name, seconds in taken.items()}
    rows = []
    for name in names:
        cells: list[str | float] = [name]
        for size in "SML":
            cells += [*p50_p99(taken[f"{name} {size}"], 1e6), times[f"{name} {size}"] / times[f"{RAW} {size}"]]
        rows.append(cells)

    def draw(axes: Axes) -> None:
        grouped_bars(axes, names, {size: [times[f"{name} {size}"] for name in names] for size in "SML"})
        axes.set_xlabel("median time of a call, us")

    title = "What a call costs: trivial model, payloads of 72 KB (S), 372 KB (M) and 1.28 MB (L)"
    return Table("wire", title, columns, rows, draw, _targets(times))


def _targets(times: dict[str, float]) -> list[Target]:
    stream = times[f"{STREAM} S"]
    return [
        Target("stream S, in times of plain grpc.aio unary S", stream / times[f"{UNARY} S"], 0.60),
        Target("stream S, in times of the raw socket", stream / times[f"{RAW} S"], 9),
        *(Target(f"stream {size}, in times of stream S", times[f"{STREAM} {size}"] / stream, 1.15) for size in "ML"),
        Target("stream L, in times of plain grpc.aio unary L", times[f"{STREAM} L"] / times[f"{UNARY} L"], 0.15),
    ]
