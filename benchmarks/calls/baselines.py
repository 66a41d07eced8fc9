"""Baselines of a call without the service: `python -m benchmarks.calls.baselines SOCKET` serves a socket and grpc.aio.

Each accepts the service's inputs and answers one float per candidate. The gRPC methods use the same messages and codec
as the service, and nothing else of it; the raw socket is sent bare arrays behind their length. A session of the client
can be opened on it, to measure the client alone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from benchmarks.trivial import SPEC
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc
from worldforge_jepa_client.wire import tensors
from worldforge_jepa_client.wire.models import model_message

SHAPE = (1, 300, 6, 10)
"""Of the candidates, with which every payload begins."""

SERVICE = "Floor"
LENGTH = struct.Struct("<I")


def receive(connection: socket.socket, size: int) -> bytearray | None:
    """Read exactly so many bytes; None where the connection has ended."""
    buffer = bytearray(size)
    rest = memoryview(buffer)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            return None
        rest = rest[count:]
    return buffer


def main() -> None:
    """Serve, and say the gRPC address."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(sys.argv[1])
    listening.listen()
    threading.Thread(target=_serve_socket, args=(listening,), daemon=True).start()
    asyncio.run(_serve_grpc())


def _serve_socket(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    while (header := receive(connection, LENGTH.size)) is not None:
        payload = receive(connection, LENGTH.unpack(header)[0])
        if payload is None:
            return
        candidates = np.frombuffer(payload, np.float32, count=int(np.prod(SHAPE))).reshape(SHAPE)
        connection.sendall(_scores(candidates).tobytes())


async def _serve_grpc() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    codec = (jepa_pb2.ScoreRequest.FromString, jepa_pb2.ScoreResponse.SerializeToString)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(_unary, *codec),
        "Bidi": grpc.stream_stream_rpc_method_handler(_bidi, *codec),
        "Threaded": grpc.stream_stream_rpc_method_handler(_Threaded().bidi, *codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    jepa_pb2_grpc.add_WorldModelServiceServicer_to_server(_Sessions(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


async def _unary(request: jepa_pb2.ScoreRequest, _: Any) -> jepa_pb2.ScoreResponse:
    candidates = tensors.decode(request.action_candidates)
    return jepa_pb2.ScoreResponse(scores=_scores(candidates).tolist())


async def _bidi(requests: AsyncIterator[jepa_pb2.ScoreRequest], _: Any) -> AsyncIterator[jepa_pb2.ScoreResponse]:
    async for request in requests:
        yield await _unary(request, None)


class _Sessions(jepa_pb2_grpc.WorldModelServiceServicer):
    """What a session of the client calls."""

    async def GetModel(  # noqa: N802 - the proto's name
        self, _: jepa_pb2.GetModelRequest, __: Any
    ) -> jepa_pb2.GetModelResponse:
        return jepa_pb2.GetModelResponse(model=model_message(SPEC))

    async def ScoreStream(  # noqa: N802 - the proto's name
        self, requests: AsyncIterator[Any], _: Any
    ) -> AsyncIterator[jepa_pb2.ScoreStreamResponse]:
        async for request in requests:
            yield jepa_pb2.ScoreStreamResponse(score=await _unary(request, None))


class _Threaded:
    """Scores on a thread of its own, as a server does that must answer others meanwhile."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[asyncio.Future[Any], jepa_pb2.ScoreRequest]] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    async def bidi(
        self, requests: AsyncIterator[jepa_pb2.ScoreRequest], _: Any
    ) -> AsyncIterator[jepa_pb2.ScoreResponse]:
        async for request in requests:
            done = asyncio.get_running_loop().create_future()
            self._work.put((done, request))
            yield jepa_pb2.ScoreResponse(scores=(await done).tolist())

    def _run(self) -> None:
        while True:
            done, request = self._work.get()
            scores = _scores(tensors.decode(request.action_candidates))
            done.get_loop().call_soon_threadsafe(done.set_result, scores)


def _scores(candidates: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return candidates[0, :, -1, 0].copy()


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    main()
