"""gRPC reflection that also finds methods by name, as ghz asks for them (grpc/grpc#34743)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection


def enable(server: Any, services: Iterable[str]) -> None:
    """Add reflection of these services, and of itself, to a server that has not started."""
    names = (*services, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server, _Descriptors(descriptor_pool.Default()))


class _Descriptors:
    """A descriptor pool; protobuf's own knows messages, enums and services by name, but no methods."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - protobuf's name
        """Find the file that defines a message, enum, service, or a method as `package.Service.Method`.

        Raises:
            KeyError: there is none.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            return self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file
