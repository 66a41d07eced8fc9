"""Sends inputs to a server, many at a time, and probes its health all along."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.fuzz.inputs import Input, Inputs

CONCURRENT = 16
CALL_SECONDS, PROBE_SECONDS = 5.0, 0.05
_READ = 3  # responses of a stream, after which it is cancelled
WRONG = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
"""Statuses that tell of an exception which nothing foresaw."""
_GRPC_OWN = "/grpc."
"""The paths of gRPC's own services, which answer UNKNOWN to bytes that they cannot parse."""


@dataclass
class Outcome:
    """How many calls ended with each status, the inputs at fault, and the seconds that each probe of health took."""

    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[Input, str]] = field(default_factory=list)
    probes: list[float] = field(default_factory=list)


async def fuzz(target: str, count: int, seed: int) -> Outcome:
    """Send `count` inputs."""
    outcome, inputs = Outcome(), Inputs(seed)
    async with grpc.aio.insecure_channel(target) as channel:
        probing = asyncio.create_task(_probe(target, outcome))
        left = iter(range(count))

        async def send() -> None:
            for _ in left:
                await _send(channel, inputs.next(), outcome)

        await asyncio.gather(*(send() for _ in range(CONCURRENT)))
        probing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await probing
    return outcome


async def _send(channel: grpc.aio.Channel, made: Input, outcome: Outcome) -> None:
    kind = f"{'stream' if made.client_streaming else 'unary'}_{'stream' if made.server_streaming else 'unary'}"
    call = getattr(channel, kind)(made.path)
    status, details = grpc.StatusCode.OK, ""
    try:
        if made.server_streaming:
            request = _each(made) if made.client_streaming else made.messages[0]
            most = 1 if made.path.endswith("/Watch") else _READ  # a watch says no more until something changes
            await _read_some(call(request, timeout=CALL_SECONDS), most)
        else:
            await call(made.messages[0], timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        status, details = error.code(), error.details() or ""
    outcome.statuses[status.name] += 1
    if status in WRONG and not made.path.startswith(_GRPC_OWN):
        outcome.wrong.append((made, details))


async def _each(made: Input):
    for message in made.messages:
        yield message


async def _read_some(call: grpc.aio.Call, most: int) -> None:
    read = 0
    async for _ in call:
        read += 1
        if read == most:
            call.cancel()
            return


async def _probe(target: str, outcome: Outcome) -> None:
    """Ask for the server's health on a connection of its own, again and again; it has to be SERVING."""
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        while True:
            began = time.perf_counter()
            answer = await check(health_pb2.HealthCheckRequest(), timeout=60)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            outcome.probes.append(time.perf_counter() - began)
            await asyncio.sleep(PROBE_SECONDS)
