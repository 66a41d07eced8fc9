"""Certificates and tokens of the tests, in files as a server and a client take them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
TOKENS = {"arm": "arm-0123456789abcdef", "camera": "camera-0123456789abcdef"}
WRONG_TOKEN = "wrong-0123456789abcdef"


@dataclass(frozen=True)
class Files:
    """A folder with a CA, the pairs that it has signed, and the tokens; `arm` may use every model, `camera` one."""

    folder: Path
    ca: trustme.CA

    @property
    def cacert(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def token_file(self) -> str:
        return str(self.folder / "tokens")

    def pair(self, name: str, *, ca: trustme.CA | None = None, **options) -> tuple[str, str]:
        """The paths of a new certificate for localhost and of its key."""
        made = (ca or self.ca).issue_cert("localhost", "127.0.0.1", **options)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        paths[1].write_bytes(made.private_key_pem.bytes())
        return str(paths[0]), str(paths[1])

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def tls_flags(self, name: str = "server", **options) -> list[str]:
        cert, key = self.pair(name, **options)
        return ["--tls-cert", cert, "--tls-key", key]


def make(folder: Path) -> Files:
    files = Files(folder, trustme.CA())
    files.ca.cert_pem.write_to_path(files.cacert)
    files.write("tokens", f"# the arm plans\narm {TOKENS['arm']}\n\ncamera {TOKENS['camera']} other  # only looks\n")
    return files
