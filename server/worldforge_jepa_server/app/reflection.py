"""gRPC reflection that also finds methods by name, as ghz asks for them (grpc/grpc#34743)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse


def handler(services: Iterable[str], *pools: DescriptorPool) -> grpc.GenericRpcHandler:
    """Return the handler of the reflection of these services, in protobuf's pool or `pools`, and of itself."""
    names = (*services, reflection.SERVICE_NAME)
    servicer = reflection.aio.ReflectionServicer(names, pool=_Descriptors(descriptor_pool.Default(), *pools))
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=ServerReflectionRequest.FromString,
        response_serializer=ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(reflection.SERVICE_NAME, {"ServerReflectionInfo": method})


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
