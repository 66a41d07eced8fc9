"""Record what clients and a server say to each other, into a file for `replay` and `report`.

Stands before a server as a proxy: give its address to the clients, whatever their language. They keep their tokens. The
proxy speaks TLS to the server only, with --cacert. Ctrl-C ends it. A call is in the file once it has ended, and each
answer of a session once it came; what the server publishes of its models stands first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Any

import grpc.aio

from worldforge_jepa_client.rpc.channel import checked_target, make_channel
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.tools.recording.file import Writer
from worldforge_jepa_client.tools.recording.proxy import SERVICE, UNLIMITED, Proxy
from worldforge_jepa_client.v1.recording_pb2 import RecordedCall
from worldforge_jepa_client.wire.status import from_rpc_error

_GRACE_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser)
    parser.add_argument("file", type=Path, help="the recording to write; there must be none of that name")
    parser.add_argument(
        "--listen", default="127.0.0.1:50052", help="where clients call, port 0 picks one (default: 127.0.0.1:50052)"
    )
    parser.add_argument("--max-mib", type=int, default=1024, help="size at which recording ends (default: 1024)")


def run(arguments: argparse.Namespace) -> int:
    """Record until SIGINT or SIGTERM, print what was recorded, and return 0."""
    with Writer(arguments.file, arguments.max_mib << 20) as writer:
        asyncio.run(_serve(arguments, writer))
    print(f"recorded {writer.calls} calls in {arguments.file}")
    if writer.dropped:
        print(f"left out {writer.dropped} calls: --max-mib {arguments.max_mib} was reached", file=sys.stderr)
    return 0


async def _serve(arguments: argparse.Namespace, writer: Writer) -> None:
    told, stop = connection.credentials(arguments).channel_credentials(), _stop_event()
    target = checked_target(arguments.target)
    async with make_channel(target, told, UNLIMITED, module=grpc.aio) as channel:
        writer.add(await _models(channel, target, arguments))
        server = grpc.aio.server(handlers=(Proxy(channel, target, writer.add),), options=UNLIMITED)
        port = _bind(server, arguments.listen)
        await server.start()
        print(f"recording {target} on {arguments.listen.rpartition(':')[0]}:{port}", flush=True)
        await stop.wait()
        await server.stop(_GRACE_SECONDS)


async def _models(channel: grpc.aio.Channel, target: str, arguments: argparse.Namespace) -> RecordedCall:
    """Return a call of ListModels; a JepaError where the server cannot be reached."""
    metadata = connection.credentials(arguments).call_metadata()
    listing: Any = channel.unary_unary(f"/{SERVICE}/ListModels", response_deserializer=bytes)
    call = RecordedCall(method="ListModels")
    try:
        call.responses.append(await listing(b"", timeout=arguments.timeout, metadata=metadata))
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, target) from None
    return call


def _bind(server: grpc.aio.Server, listen: str) -> int:
    try:
        port: int = server.add_insecure_port(listen)
    except RuntimeError:
        raise OSError(f"{listen} cannot be listened on") from None
    return port


def _stop_event() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set from now on."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows, where Ctrl-C ends asyncio.run
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    return stop
