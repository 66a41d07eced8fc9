"""Addresses to listen on: parsed and probed here, so that each failure is one clear line."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio

from worldforge_jepa_server.app.system import UNIX_SOCKETS, lock
from worldforge_jepa_server.config import StartError

_MAX_PATH = 107  # bytes: Linux's sun_path without its end


class BindError(StartError):
    """The address to listen on is malformed, taken, or not one of this machine."""


@dataclass(frozen=True)
class Address:
    """A parsed `--listen`: a host and port, a socket file, or an abstract name (Linux)."""

    text: str
    host: str = ""
    port: int = 0
    path: Path | None = None
    abstract: str = ""


def parse(text: str) -> Address:
    """Parse `host:port`, `[v6]:port`, `unix:/path` or `unix-abstract:name`.

    Raises:
        BindError: it is none of these.
    """
    scheme, _, rest = text.partition(":")
    if scheme in ("unix", "unix-abstract"):
        if not UNIX_SOCKETS:
            raise BindError(f"--listen {text!r}: Python has no Unix sockets on this system; expected host:port")
        if not rest.strip("/"):
            raise BindError(f"--listen {text!r} names no socket; expected unix:/path or unix-abstract:name")
        if scheme == "unix":
            return Address(text, path=Path(rest.removeprefix("//")).absolute())
        return Address(text, abstract=rest)
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or "/" in bare or (":" in bare and bare == host):
        raise BindError(f"--listen {text!r} is not host:port, [IPv6]:port, unix:/path or unix-abstract:name")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise BindError(f"--listen {text!r}: the port is {port!r}; expected 0 to 65535")
    return Address(text, bare, int(port))


@contextlib.contextmanager
def bound(server: grpc.aio.Server, text: str, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    """Bind a server that has not started; yield the address that reaches it. A socket file goes at the end.

    With credentials the port speaks TLS.

    Raises:
        BindError: the address is malformed, taken, or not one of this machine.
    """
    address, add = parse(text), _Ports(server, credentials).add
    if address.path is not None:
        with _socket_file(add, address.path):
            yield text
    elif address.abstract:
        _probe(socket.AF_UNIX, "\0" + address.abstract, text)
        add(text, text)
        yield text
    else:
        yield f"{text.rpartition(':')[0]}:{_bind_tcp(add, address)}"


def _bind_tcp(add: Callable[[str, str], int], address: Address) -> int:
    """Bind every address that the host name has here, on one port; gRPC would accept a bind to any one of them."""
    port = address.port
    for family, host in _resolve(address):
        if not _exists(family, host):
            continue
        _probe(family, (host, port), address.text)
        port = add(f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}", address.text)
    if not port:
        raise BindError(f"cannot listen on {address.text}: {address.host} is no address of this machine")
    return port


def _resolve(address: Address) -> list[tuple[int, str]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(f"cannot listen on {address.text}: {address.host}: {error.strerror}") from error
    return list(dict.fromkeys((int(family), str(where[0])) for family, _, _, _, where in found))


def _exists(family: int, host: str) -> bool:
    """Return True if this machine has the address: localhost may resolve to a family that is switched off."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def _probe(family: int, where: tuple[str, int] | str, text: str) -> None:
    """Bind and close a plain socket: its error says why an address cannot be bound."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(where[0] != "::"))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        why = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise BindError(f"cannot listen on {text}: {why}") from error


@dataclass(frozen=True)
class _Ports:
    server: grpc.aio.Server
    credentials: grpc.ServerCredentials | None

    def add(self, where: str, text: str) -> int:
        """Bind one more address; `text` is its name in an error."""
        try:
            if self.credentials is None:
                return int(self.server.add_insecure_port(where))
            return int(self.server.add_secure_port(where, self.credentials))
        except RuntimeError as error:
            raise BindError(f"cannot listen on {text}: it is in use") from error


@contextlib.contextmanager
def _socket_file(add: Callable[[str, str], int], path: Path) -> Iterator[None]:
    """Bind under a name of our own and rename it.

    gRPC removes at its end the name that it bound, whatever is there by then; the renamed file is removed only while it
    is still ours.
    """
    own = path.with_name(f".{os.getpid()}.sock")
    if max(len(os.fsencode(own)), len(os.fsencode(path))) > _MAX_PATH:
        raise BindError(f"cannot listen on unix:{path}: the path is longer than a socket's may be, {_MAX_PATH} bytes")
    with _locked(path.parent):
        _refuse_live(path)
        own.unlink(missing_ok=True)
        add(f"unix:{own}", f"unix:{path}")
        own.rename(path)
        made = path.stat().st_ino
    try:
        yield
    finally:
        with contextlib.suppress(OSError, BindError), _locked(path.parent):
            if path.stat().st_ino == made:
                path.unlink()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one server at a time look at a folder's sockets and change them."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise BindError(f"cannot listen in {folder}: {error.strerror}") from error
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _refuse_live(path: Path) -> None:
    """Pass where nothing is at a path, or a socket that no process listens on."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise BindError(f"cannot listen on unix:{path}: the file is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
        except OSError as error:
            raise BindError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    raise BindError(f"cannot listen on unix:{path}: it is in use, a server answers there")
