"""`python -m benchmarks.soak.hostile TARGET`: clients of each hostile kind at once, until the process is killed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.protobuf.struct_pb2 import Struct

from benchmarks.scene import candidates, two_rooms
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Observation, PlanCall, Scene, ScoreCall, UnrollCall
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc

Kind = Callable[[Any, Any], Awaitable[None]]
"""Does harm with a stub and its channel."""

_PAUSE, _HELD_SECONDS, _TIMEOUT = 1.0, 5.0, 30.0
_PLANS, _STREAMS = 20, 50
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
_SCORE = "/worldforge.jepa.v1.WorldModelService/Score"


def _scene() -> Scene:
    arrays = two_rooms()
    return build_scene(arrays["observation"], arrays["goal"], None)


async def plans_that_are_not_read(stub: Any, _: Any) -> None:
    """Twenty plans of ten thousand iterations on one connection."""
    planner = PlannerOptions(horizon=6, samples=300, iterations=10_000)
    calls = [stub.Plan(wire.plan_request(PlanCall(_scene(), planner=planner))) for _ in range(_PLANS)]
    await asyncio.sleep(_HELD_SECONDS)
    for call in calls:
        call.cancel()


async def streams_that_are_not_read(stub: Any, _: Any) -> None:
    """Fifty streams that send on and on."""

    async def endless() -> AsyncIterator[Any]:
        scene = _scene()
        while True:
            yield wire.stream_request(scene, candidates(300, 6))
            await asyncio.sleep(0.1)

    calls = [stub.ScoreStream(endless()) for _ in range(_STREAMS)]
    await asyncio.sleep(_HELD_SECONDS)
    for call in calls:
        call.cancel()


async def unrolls_that_are_not_read(stub: Any, _: Any) -> None:
    """Latents of a megabyte and more, many times."""
    call = UnrollCall(_scene(), candidates(64, 6))
    calls = [stub.Unroll(wire.unroll_request(call)) for _ in range(_PLANS)]
    await asyncio.sleep(_HELD_SECONDS)
    for each in calls:
        each.cancel()


async def large_extra_info(stub: Any, _: Any) -> None:
    """As much JSON as is taken, and far more."""
    for entries in (45_000, 400_000):
        extra = Struct()
        extra.update({str(number): number for number in range(entries)})
        request = wire.score_request(ScoreCall(_scene(), candidates(4, 2)))
        request.extra_info.CopyFrom(extra)
        with contextlib.suppress(grpc.RpcError):
            await stub.Score(request, timeout=_TIMEOUT)


async def many_steps(stub: Any, _: Any) -> None:
    """Five million steps of an unroll."""
    request = jepa_pb2.UnrollRequest(steps=[1] * 5_000_000)
    with contextlib.suppress(grpc.RpcError):
        await stub.Unroll(request, timeout=_TIMEOUT).read()


async def large_refused_calls(_: Any, channel: Any) -> None:
    """Messages of 20 MB that are none."""
    for _again in range(3):
        with contextlib.suppress(grpc.RpcError):
            await channel.unary_unary(_SCORE)(b"\xff" * 20_000_000, timeout=_TIMEOUT)


async def idle_streams_with_large_scenes(stub: Any, _: Any) -> None:
    """Scenes of 12 MB, each kept by a stream that says no more."""
    frame = np.zeros((1, 1, 3, 2048, 2048), np.uint8)
    proprio = np.full((1, 1, 2), 30.0, np.float32)
    scene = Scene(Observation(frame, proprio), Observation(frame[..., :64], proprio))
    calls = [stub.ScoreStream() for _ in range(4)]
    for call in calls:
        await call.write(wire.stream_request(scene, candidates(4, 2)))
        await call.read()
    await asyncio.sleep(_HELD_SECONDS)
    for call in calls:
        call.cancel()


async def bad_paths_and_metadata(_: Any, channel: Any) -> None:
    """A path that is no method, one that is no UTF-8, and metadata beyond the limit."""
    for path, metadata in ((b"/\xff", ()), (b"/none/None", ()), (_SCORE.encode(), (("x", "y" * 20_000),))):
        with contextlib.suppress(grpc.RpcError):
            await channel.unary_unary(path)(b"", metadata=metadata, timeout=_TIMEOUT)


async def a_moody_model(stub: Any, _: Any) -> None:
    """Calls of the model that raises now and then."""
    frame = Observation(np.zeros((1, 1, 3, 4, 4), np.uint8))
    request = wire.score_request(ScoreCall(Scene(frame, frame), np.zeros((1, 5, 2, 2), np.float32), model="moody"))
    for _again in range(10):
        with contextlib.suppress(grpc.RpcError):
            await stub.Score(request, timeout=_TIMEOUT)


async def vanishing(stub: Any, _: Any) -> None:
    """Calls whose connection is closed before they are answered."""
    request = wire.score_request(ScoreCall(_scene(), candidates(300, 6)))
    _vanished = [stub.Score(request) for _ in range(10)]
    await asyncio.sleep(0.05)


KINDS: tuple[Kind, ...] = (
    plans_that_are_not_read,
    streams_that_are_not_read,
    unrolls_that_are_not_read,
    large_extra_info,
    many_steps,
    large_refused_calls,
    idle_streams_with_large_scenes,
    bad_paths_and_metadata,
    a_moody_model,
    vanishing,
)


async def _again_and_again(target: str, kind: Kind) -> None:
    while True:
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
                await kind(jepa_pb2_grpc.WorldModelServiceStub(channel), channel)
        await asyncio.sleep(_PAUSE)


async def main() -> None:
    """Run them all."""
    await asyncio.gather(*(_again_and_again(sys.argv[1], kind) for kind in KINDS))


if __name__ == "__main__":
    asyncio.run(main())
