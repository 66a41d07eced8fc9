"""gRPC reflection, v1 and v1alpha, that also finds methods by name, as ghz asks for them (grpc/grpc#34743)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import DESCRIPTOR, ServerReflectionRequest, ServerReflectionResponse

_V1ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_SERVICES = (f"{_V1}.ServerReflection", reflection.SERVICE_NAME)


def handlers(services: Iterable[str], *pools: DescriptorPool) -> Iterator[grpc.GenericRpcHandler]:
    """Yield the handlers of the reflection of these services, in protobuf's pool or `pools`, and of itself.

    The two versions have the same messages on the wire; grpcio-reflection has those of v1alpha only.
    """
    known = _Descriptors(descriptor_pool.Default(), _v1_pool(), *pools)
    servicer = reflection.aio.ReflectionServicer((*services, *_SERVICES), pool=known)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    for name in _SERVICES:
        yield grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})


def _v1_pool() -> DescriptorPool:
    """Return a pool with the file of v1, made of v1alpha's."""
    file = descriptor_pb2.FileDescriptorProto()
    DESCRIPTOR.CopyToProto(file)
    file.name, file.package = "grpc/reflection/v1/reflection.proto", _V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_V1ALPHA, _V1)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(_V1ALPHA, _V1)
        method.output_type = method.output_type.replace(_V1ALPHA, _V1)
    pool = DescriptorPool()
    pool.Add(file)
    return pool


class _Descriptors:
    """Descriptor pools as one; protobuf's own know messages, enums and services by name, but no methods."""

    def __init__(self, *pools: DescriptorPool) -> None:
        self._pools = pools

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pools[0], name)

    def FindFileByName(self, name: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        """Find a file by its path.

        Raises:
            KeyError: there is none.
        """
        found: FileDescriptor = self._find(lambda pool: pool.FindFileByName(name), name)
        return found

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        """Find the file that defines a message, enum, service, or a method as `package.Service.Method`.

        Raises:
            KeyError: there is none.
        """
        try:
            found: FileDescriptor = self._find(lambda pool: pool.FindFileContainingSymbol(symbol), symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            methods = self._find(lambda pool: pool.FindServiceByName(service), symbol).methods_by_name
            found = methods[method].containing_service.file
        return found

    def _find(self, find: Callable[[Any], Any], name: str) -> Any:
        """Return what the first pool finds that has it."""
        for pool in self._pools:
            with contextlib.suppress(KeyError):
                return find(pool)
        raise KeyError(name)
