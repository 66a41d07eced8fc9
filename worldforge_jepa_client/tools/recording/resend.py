"""Sends the calls of a recording again."""

from __future__ import annotations

import argparse
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from worldforge_jepa_client.rpc.channel import checked_target, make_channel
from worldforge_jepa_client.rpc.credentials import Credentials
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.tools.recording.compare import Difference, compare
from worldforge_jepa_client.tools.recording.proxy import SERVICE, UNLIMITED
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.v1.recording_pb2 import RecordedCall
from worldforge_jepa_client.wire.status import from_rpc_error

METHODS = {each.name: each for each in jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"].methods}
_OUT_OF_TIME = {grpc.StatusCode.CANCELLED.value[0], grpc.StatusCode.DEADLINE_EXCEEDED.value[0]}


@dataclass(frozen=True)
class Replayed:
    """One call, and what differs now; `difference` is None for one that is left out. `number` is from 1."""

    number: int
    method: str
    recorded_ms: float
    ms: float
    difference: Difference | None

    def figures(self) -> dict[str, Any]:
        """Return the call as JSON."""
        return asdict(self) | {"difference": self.difference.figures() if self.difference else None}


def replay(calls: Iterable[RecordedCall], arguments: argparse.Namespace) -> Iterator[Replayed]:
    """Send calls to the server that the flags name, each when the last is answered; yield what differs.

    Raises:
        JepaError: the target cannot be used.
    """
    credentials = connection.credentials(arguments)
    target = checked_target(arguments.target)
    with make_channel(target, credentials.channel_credentials(), UNLIMITED) as channel, ExitStack() as streams:
        server = _Server(channel, target, credentials, arguments.timeout, streams)
        contexts: dict[str, str] = {}
        for number, call in enumerate(calls, 1):
            if call.code in _OUT_OF_TIME or call.method not in METHODS:
                yield Replayed(number, call.method, call.duration_us / 1e3, 0.0, None)
                continue
            request = _renewed(call, arguments.model, contexts)
            began = time.perf_counter()
            responses, reason = server.answer(call, request)
            ms = (time.perf_counter() - began) * 1e3
            _note_context(call, responses, contexts)
            yield Replayed(number, call.method, call.duration_us / 1e3, ms, _difference(call, responses, reason))


def _difference(call: RecordedCall, responses: list[bytes], reason: str) -> Difference:
    if call.reason != reason:
        return Difference(problem=f"was {call.reason or 'answered'}, now {reason or 'answered'}")
    try:
        return compare(call.method, call.responses, responses)
    except DecodeError as error:
        return Difference(problem=f"an answer cannot be parsed: {error}")


def _renewed(call: RecordedCall, model: str, contexts: dict[str, str]) -> bytes:
    """Return the request with this server's context and the wanted model; as it is where it cannot be parsed."""
    try:
        message: Any = GetMessageClass(METHODS[call.method].input_type).FromString(call.request)
    except DecodeError:
        return call.request
    names = {field.name for field in message.DESCRIPTOR.fields}
    if "context_id" in names and message.context_id:
        message.context_id = contexts.get(message.context_id, message.context_id)
    if model and "model" in names:
        message.model = model
    return bytes(message.SerializeToString())


def _note_context(call: RecordedCall, responses: list[bytes], contexts: dict[str, str]) -> None:
    if call.method == "CreateContext" and call.responses and responses:
        old, new = (jepa_pb2.CreateContextResponse.FromString(each[0]) for each in (call.responses, responses))
        contexts[old.context_id] = new.context_id


class _Server:
    """Answers requests one at a time; those of a recorded stream go over one stream."""

    def __init__(
        self, channel: grpc.Channel, target: str, credentials: Credentials, timeout: float, streams: ExitStack
    ) -> None:
        self._channel, self._target, self._timeout, self._closing = channel, target, timeout, streams
        self._metadata = credentials.call_metadata()
        self._streams: dict[int, tuple[queue.SimpleQueue[bytes | None], Any]] = {}

    def answer(self, call: RecordedCall, request: bytes) -> tuple[list[bytes], str]:
        """Return the messages that a request is answered with, and the reason of the error; empty for none."""
        try:
            if call.stream:
                return self._streamed(call.stream, request), ""
            return list(self._call(call.method, iter([request]), self._timeout)), ""
        except grpc.RpcError as error:
            self._streams.pop(call.stream, None)
            return [], from_rpc_error(error, self._target).reason

    def _streamed(self, number: int, request: bytes) -> list[bytes]:
        requests, responses = self._stream(number)
        late = threading.Timer(self._timeout, responses.cancel)
        late.start()
        try:
            requests.put(request)
            return [next(responses)]
        except StopIteration:
            return []
        finally:
            late.cancel()

    def _stream(self, number: int) -> tuple[queue.SimpleQueue[bytes | None], Any]:
        if number not in self._streams:
            requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            self._streams[number] = requests, self._call("ScoreStream", iter(requests.get, None), None)
            self._closing.callback(requests.put, None)
        return self._streams[number]

    def _call(self, method: str, requests: Iterator[bytes], timeout: float | None) -> Any:
        method_call: Any = self._channel.stream_stream(f"/{SERVICE}/{method}")
        return method_call(requests, timeout=timeout, metadata=self._metadata)
