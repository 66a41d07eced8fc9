"""Our own load generator: many connections, in an open or a closed loop, for where ghz is missing.

It sends what ghz would, and sees what ghz does not: refusals of single messages on a stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import grpc
import grpc.aio

from benchmarks.load.outcome import Load, Outcome
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.rpc.channel import CHANNEL_OPTIONS
from worldforge_jepa_client.tools.calldata import SERVICE, parse_delimited
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire.status import from_message, from_rpc_error

REST_SECONDS = 0.01
"""A pause after a call that failed: one that is refused at once would otherwise be most of the load."""

Call = Callable[[int], Awaitable[None]]
"""Makes the call of this number; raises what is wrong with its answer."""


def run(load: Load) -> Outcome:
    """Make the load."""
    outcome = Outcome(load.name)
    asyncio.run(generate(load, outcome))
    return outcome


async def generate(load: Load, outcome: Outcome) -> None:
    """Make the load and note what comes of it in `outcome` at once, so that it may be cancelled."""
    channels = [grpc.aio.insecure_channel(load.target, options=CHANNEL_OPTIONS) for _ in range(load.connections)]
    calls = [_METHODS[load.method](channel, load) for channel in channels]
    began = time.perf_counter()
    try:
        await (_open_loop if load.rate else _closed_loop)(load, calls, outcome)
    finally:
        outcome.seconds = time.perf_counter() - began
        for channel in channels:
            await channel.close()


async def _closed_loop(load: Load, calls: list[Call], outcome: Outcome) -> None:
    numbers, deadline = count(), time.perf_counter() + load.seconds

    async def caller(call: Call) -> None:
        while (began := time.perf_counter()) < deadline:
            if not await _call(call, next(numbers), began, load.target, outcome):
                await asyncio.sleep(REST_SECONDS)

    await asyncio.gather(*(caller(calls[index % len(calls)]) for index in range(load.concurrency)))


async def _open_loop(load: Load, calls: list[Call], outcome: Outcome) -> None:
    began, running = time.perf_counter(), set()
    for number in range(round(load.rate * load.seconds)):
        due = began + number / load.rate
        await asyncio.sleep(due - time.perf_counter())
        task = asyncio.create_task(_call(calls[number % len(calls)], number, due, load.target, outcome))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


async def _call(call: Call, number: int, began: float, target: str, outcome: Outcome) -> bool:
    """Make the call that was due at `began`; return True if it was answered."""
    try:
        await call(number)
    except grpc.RpcError as error:
        outcome.errors[from_rpc_error(error, target).reason] += 1
    except JepaError as error:
        outcome.errors[error.reason] += 1
    else:
        outcome.answered(time.perf_counter() - began)
        return True
    return False


def _unary(channel: grpc.aio.Channel, load: Load) -> Call:
    requests = _requests(load, jepa_pb2.ScoreRequest)
    method: Any = channel.unary_unary(f"/{SERVICE}/{load.method}")

    async def call(number: int) -> None:
        await method(requests[number % len(requests)], timeout=load.timeout)

    return call


def _stream(channel: grpc.aio.Channel, load: Load) -> Call:
    requests = _requests(load, jepa_pb2.ScoreStreamRequest)
    method: Any = channel.stream_stream(
        f"/{SERVICE}/{load.method}", response_deserializer=jepa_pb2.ScoreStreamResponse.FromString
    )

    async def call(_: int) -> None:
        async for response in method(iter(requests), timeout=load.timeout):
            if response.HasField("error"):
                raise from_message(response.error)

    return call


def _requests(load: Load, kind: type[jepa_pb2.ScoreRequest | jepa_pb2.ScoreStreamRequest]) -> list[bytes]:
    return [request.SerializeToString() for request in parse_delimited(load.requests.read_bytes(), kind)]


_METHODS: dict[str, Callable[[grpc.aio.Channel, Load], Call]] = {"Score": _unary, "ScoreStream": _stream}
