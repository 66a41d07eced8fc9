"""The proxies of deploy/proxies, each with its own configuration before a server; Linux only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CONFIGURATIONS = Path(__file__).parents[2] / "deploy/proxies"
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Proxy:
    """A proxy: its program, its configuration in deploy/proxies, and how it is run and told to read that again."""

    program: str
    configuration: str
    addresses: tuple[tuple[str, str], ...]
    run: Callable[[str, Path], list[str]]
    reload: Callable[[str, Path], list[str]] | int

    @property
    def executable(self) -> str | None:
        """The path of the program; None where it is not installed."""
        return shutil.which(self.program) or shutil.which(self.program, path=str(Path(sys.executable).parent))


def _nginx(program: str, path: Path) -> list[str]:
    told = f"daemon off; pid {path.parent}/pid; error_log {path.parent}/log;"
    return [program, "-p", str(path.parent), "-c", str(path), "-g", told + (" user root;" if os.geteuid() == 0 else "")]


def _caddy(command: str) -> Callable[[str, Path], list[str]]:
    return lambda program, path: [program, command, "--config", str(path), "--adapter", "caddyfile"]


PROXIES = {
    "nginx": Proxy("nginx", "nginx/nginx.conf", (("listen 443", "listen {host}"),), _nginx, signal.SIGHUP),
    "haproxy": Proxy(
        "haproxy",
        "haproxy/haproxy.cfg",
        (("bind :443", "bind {host}"),),
        lambda program, path: [program, "-W", "-db", "-f", str(path)],
        signal.SIGUSR2,
    ),
    "caddy": Proxy(
        "caddy",
        "caddy/Caddyfile",
        ((":443 {", "https://{host} {{"), ("localhost:2019", "unix/{folder}/admin")),
        _caddy("run"),
        _caddy("reload"),
    ),
}


@dataclass(frozen=True)
class Running:
    """A proxy that serves on `target`."""

    proxy: Proxy
    target: str
    path: Path
    process: subprocess.Popen[bytes]

    def reload(self) -> None:
        """Have it read its configuration again, as after a change."""
        if isinstance(self.proxy.reload, int):
            self.process.send_signal(self.proxy.reload)
        else:
            assert self.proxy.executable
            subprocess.run(self.proxy.reload(self.proxy.executable, self.path), check=True, capture_output=True)


@contextlib.contextmanager
def before(server: str, proxy: Proxy, folder: Path, *, idle: str = "1h", **changes: str) -> Iterator[Running]:
    """Start a proxy before the server at an address, with its own configuration but for addresses and timeouts.

    Args:
        server: host:port of a server that speaks HTTP/2 in the clear.
        proxy: one that is installed.
        folder: where its files go; holds tls.crt, tls.key and both as tls.pem.
        idle: how long a stream may be silent.
        changes: further text to replace in the configuration.
    """
    assert proxy.executable
    host = f"127.0.0.1:{_free_port()}"
    text = (CONFIGURATIONS / proxy.configuration).read_text(encoding="utf-8")
    own = {old: new.format(host=host, folder=folder) for old, new in proxy.addresses}
    for old, new in {
        **own,
        "127.0.0.1:50051": server,
        "/etc/worldforge-jepa": str(folder),
        "1h": idle,
        **changes,
    }.items():
        text = text.replace(old, new)
    path = folder / Path(proxy.configuration).name
    path.write_text(text, encoding="utf-8")
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "output").open("wb") as output:
        command = proxy.run(proxy.executable, path)
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        _wait_for(host, process, folder)
        yield Running(proxy, host, path, process)
    finally:
        process.terminate()
        process.wait(_START_SECONDS)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(host: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2]))):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the proxy did not start: {(folder / 'output').read_text()}")
