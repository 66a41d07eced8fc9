"""ScoreStream: headers, order, a scene that lives as long as the stream, flow control."""

from __future__ import annotations

import asyncio

import grpc

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Scene
from worldforge_jepa_client.tools.conformance.promises import Promises
from worldforge_jepa_client.tools.conformance.under_test import (
    BrokenPromiseError,
    ServerUnderTest,
    close,
    expect,
    refusal_in,
    scores_of,
)
from worldforge_jepa_client.v1 import jepa_pb2

PROMISES = Promises()
_PROMPT = 4.0  # seconds: far more than headers take
_STALLED = 1.0  # seconds that one message waits for flow control
_FLOOD = 64 * 2**20  # bytes, of which flow control must hold back a part
_AHEAD = 6


def _message(
    server: ServerUnderTest, scene: Scene | None = None, seed: int = 0, samples: int = 0
) -> jepa_pb2.ScoreStreamRequest:
    return wire.stream_request(scene, server.candidates(samples, seed=seed), model=server.spec.name)


@PROMISES("their headers come when the server accepts the call, before the first message of either side.")
async def stream_early_headers(server: ServerUnderTest) -> None:
    """A stream has its headers before its client has sent anything."""
    async with server.stream() as stream:
        try:
            await asyncio.wait_for(stream.call.initial_metadata(), _PROMPT)
        except asyncio.TimeoutError:
            raise BrokenPromiseError(f"no headers within {_PROMPT:g} s, and nothing was sent") from None


@PROMISES("The scores are the same.")
async def stream_scores(server: ServerUnderTest) -> None:
    """A stream scores as Score does."""
    expected = await server.score(server.score_request())
    async with server.stream() as stream:
        got = await stream.scores(_message(server, server.scene()))
    expect(close(got, expected), f"a stream scores {got}, Score {expected}")


@PROMISES("Every request gets exactly one response, in order, and requests may be sent ahead of responses.")
async def stream_order(server: ServerUnderTest) -> None:
    """Requests that are sent at once are answered one by one, in their order; then the stream ends."""
    sizes = [min(index + 1, server.spec.limits.max_samples) for index in range(_AHEAD)]
    requests = [server.candidates(size, seed=index) for index, size in enumerate(sizes)]
    expected = [await server.score(server.score_request(action_candidates=each)) for each in requests]
    async with server.stream() as stream:
        for index, size in enumerate(sizes):
            await stream.send(_message(server, None if index else server.scene(), index, size))
        await stream.call.done_writing()
        got = [scores_of(await stream.receive()) for _ in sizes]
        end = await stream.call.read()
    order = all(close(*pair) for pair in zip(got, expected, strict=True))
    expect(order, f"the answers are {[each.tolist() for each in got]}; expected {[each.tolist() for each in expected]}")
    expect(end is grpc.aio.EOF, "there are more answers than requests")


@PROMISES("Unset where the request held no candidates and its scene was accepted.")
async def stream_scene_only(server: ServerUnderTest) -> None:
    """A message with a scene alone gets an empty answer."""
    async with server.stream() as stream:
        await stream.send(wire.stream_request(server.scene(), None, model=server.spec.name))
        kind = (await stream.receive()).WhichOneof("result")
    expect(kind is None, f"the answer to a scene alone is {kind}; expected none")


@PROMISES("A request that is refused gets an Error in its place, changes nothing, and the stream goes on.")
async def stream_refusal(server: ServerUnderTest) -> None:
    """After a refused message, whose scene was new, the stream scores in the scene before."""
    async with server.stream() as stream:
        before = await stream.scores(_message(server, server.scene()))
        wrong = _message(server, server.scene(seed=1))
        wrong.action_candidates.shape[2] += 1
        await stream.send(wrong)
        refusal_in(await stream.receive(), "INVALID_ARGUMENT", "DATA_LENGTH_MISMATCH", "action_candidates")
        after = await stream.scores(_message(server))
    expect(close(after, before), f"after a refused message the candidates score {after}; expected {before}")


@PROMISES("On the first message all that a PlanningContext needs")
async def stream_no_scene(server: ServerUnderTest) -> None:
    """A first message without a scene is refused, and the stream goes on."""
    async with server.stream() as stream:
        await stream.send(_message(server))
        refusal_in(await stream.receive(), "FAILED_PRECONDITION", "NO_SCENE", "context")
        await stream.scores(_message(server, server.scene()))


@PROMISES("on later ones each field that is set replaces the one before.")
async def stream_scene_in_part(server: ServerUnderTest) -> None:
    """A later message's goal, and then its observation, replace those before."""
    old, new = server.scene(), server.scene(seed=1)
    changes = (Scene(goal=new.goal), Scene(new.observation, action_history=new.action_history))
    async with server.stream() as stream:
        scene = old
        await stream.scores(_message(server, scene))
        for change in changes:
            scene = scene.updated(change)
            got, expected = (
                await stream.scores(_message(server, change)),
                await server.score(server.score_request(scene)),
            )
            expect(close(got, expected), f"after a change of the scene a stream scores {got}; expected {expected}")


@PROMISES("A client that sends faster than the model scores is slowed by flow control.")
async def stream_flow_control(server: ServerUnderTest) -> None:
    """A client that sends and reads no answer has to wait before it has sent 64 MiB."""
    samples = min(server.spec.limits.max_samples, 4096)
    request, sent = _message(server, server.scene(), samples=samples), 0
    size = request.ByteSize()
    async with server.stream() as stream:
        while sent < _FLOOD:
            try:
                await asyncio.wait_for(stream.send(request), _STALLED)
            except asyncio.TimeoutError:
                return
            sent += size
    raise BrokenPromiseError(f"{sent // 2**20} MiB were accepted of a client that reads no answer")
