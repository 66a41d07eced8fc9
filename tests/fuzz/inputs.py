"""Makes inputs: valid messages whose fields and bytes are changed at random, and bytes that are no message."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.scenes import candidates, scene
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import PlanCall, ScoreCall, UnrollCall
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_server.rpc.open_inference import messages as open_inference

_MAX_RAW = 4096
_EXTREME = {
    FieldDescriptor.CPPTYPE_INT32: (0, -1, 1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_INT64: (0, -1, 1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 7, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 7, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, -1.0, float("inf"), float("-inf"), float("nan"), 1e308),
    FieldDescriptor.CPPTYPE_FLOAT: (0.0, -1.0, float("inf"), float("nan"), 3e38),
    FieldDescriptor.CPPTYPE_BOOL: (True, False),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 99, -1),
}
_TEXTS = ("", "tiny", "other", "\0", "é" * 9, "../../etc/passwd", "x" * 300, "%s%n{0}", "a" * 40)


@dataclass(frozen=True)
class Input:
    """A call: its method, by path, and its messages."""

    path: str
    messages: tuple[bytes, ...]
    client_streaming: bool
    server_streaming: bool


def methods() -> list[MethodDescriptor]:
    """Return every method that a server has."""
    services = [
        jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"],
        open_inference.SERVICE,
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    ]
    return [method for service in services for method in service.methods]


class Inputs:
    """Makes inputs; equal seeds make equal ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._methods, self._valid = methods(), _valid_requests()

    def next(self) -> Input:
        """Return another input."""
        method = self._random.choice(self._methods)
        count = self._random.randint(0, 3) if method.client_streaming else 1
        data = tuple(self._message(method) for _ in range(count))
        path = f"/{method.containing_service.full_name}/{method.name}"
        return Input(path, data, method.client_streaming, method.server_streaming)

    def _message(self, method: MethodDescriptor) -> bytes:
        kind = self._random.random()
        if kind < 0.1:
            return self._random.randbytes(self._random.randint(0, _MAX_RAW))
        message = GetMessageClass(method.input_type)()
        if method.name in self._valid:
            message.CopyFrom(self._valid[method.name])
        for _ in range(self._random.randint(0, 3)):
            self._change(message)
        data = message.SerializePartialToString()
        return self._damaged(data) if kind < 0.5 else data

    def _change(self, message: Message) -> None:
        """Change a field of the message, or of one inside it."""
        fields = message.DESCRIPTOR.fields
        if not fields:
            return
        field = self._random.choice(fields)
        if self._random.random() < 0.15:
            message.ClearField(field.name)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            return
        elif _is_repeated(field):
            self._change_items(message, field)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
            part = getattr(message, field.name)
            part.SetInParent()
            self._change(part)
        else:
            setattr(message, field.name, self._value(field, getattr(message, field.name)))

    def _change_items(self, message: Message, field: FieldDescriptor) -> None:
        items = getattr(message, field.name)
        for _ in range(self._random.choice((1, 2, 5))):
            if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
                self._change(items.add())
            else:
                items.append(self._value(field, None))

    def _value(self, field: FieldDescriptor, now: object) -> object:
        if field.type == FieldDescriptor.TYPE_BYTES:
            data = now if isinstance(now, bytes) else b""
            return self._damaged(data) if data else self._random.randbytes(self._random.choice((1, 4, 1000)))
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self._random.choice(_TEXTS)
        return self._random.choice(_EXTREME[field.cpp_type])

    def _damaged(self, data: bytes) -> bytes:
        """Cut bytes, repeat a part, or change some."""
        if not data:
            return data
        at, other = sorted(self._random.randrange(len(data)) for _ in range(2))
        changes: list[Callable[[], bytes]] = [
            lambda: data[:at],
            lambda: data[at:],
            lambda: data[:other] + data[at:],
            lambda: data[:at] + self._random.randbytes(8) + data[other:],
            lambda: data[:at] + bytes([data[at] ^ 1 << self._random.randrange(8)]) + data[at + 1 :],
        ]
        return self._random.choice(changes)()


def _valid_requests() -> dict[str, Message]:
    """Return a small valid request for the methods that have one, by their names."""
    arrays = scene()
    where, actions = build_scene(arrays["observation"], arrays["goal"], None), candidates()
    planner = PlannerOptions(horizon=2, samples=8, iterations=3, elites=2)
    return {
        "GetModel": jepa_pb2.GetModelRequest(model="tiny"),
        "Score": wire.score_request(ScoreCall(where, actions)),
        "ScoreStream": wire.stream_request(where, actions),
        "CreateContext": wire.context_request(where, "tiny"),
        "DeleteContext": jepa_pb2.DeleteContextRequest(context_id="none"),
        "Encode": wire.encode_request(where.observation, "tiny", "float16"),
        "Unroll": wire.unroll_request(UnrollCall(where, actions)),
        "Plan": wire.plan_request(PlanCall(where, planner=planner)),
    }


def _is_repeated(field: FieldDescriptor) -> bool:
    """Return True for a list; protobuf 6.30 has another name for it, which a later one warns of."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)
