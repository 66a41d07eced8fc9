"""The hosts of examples/hosts: how each is built and run.

A host is built in its own folder, and again only when a source of its own or of the protos has changed.
"""

import asyncio
import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.toolchains import require

ROOT = Path(__file__).parents[2]
SECONDS = 240
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "E403", "E404")
UNREACHABLE += ("dial tcp", "failed to download", "Could not transfer artifact", "Could not resolve host")
UNREACHABLE += ("By not providing", "Could NOT find")  # a library that CMake does not find
MADE = {"node_modules", "build", "stubs", "target", "score"}


@dataclass(frozen=True)
class Host:
    """One of examples/hosts: its row in the documentation, and how to build, run and name its toolchain."""

    language: str
    source: str
    needs: tuple[str, ...]
    build: str
    run: str
    made: str
    version: tuple[str, str, str]
    options: tuple[str, ...] = ()

    @property
    def folder(self):
        return ROOT / "examples/hosts" / self.source.partition("/")[0]

    @property
    def reads(self):
        """The folders that a build depends on."""
        return (self.folder, ROOT / "protos")

    @property
    def command(self):
        program, *arguments = self.run.split()
        return [program, *self.options, *arguments]

    @property
    def toolchain(self):
        name, command, pattern = self.version
        done = subprocess.run(command.split(), capture_output=True, text=True, check=True)
        return f"{name} {re.search(pattern, done.stdout + done.stderr)[1]}"


HOSTS = [
    Host(
        "C++",
        "cpp/score.cpp",
        ("cmake", "c++", "protoc", "grpc_cpp_plugin"),
        "cmake -B build && cmake --build build",
        "build/score",
        "build/score",
        ("GCC", "c++ --version", r"\) (\d+\.\d+)"),
    ),
    Host(
        "Go",
        "go/main.go",
        ("go", "protoc"),
        "go generate && go build -o score .",
        "./score",
        "score",
        ("Go", "go version", r"go(\d+\.\d+)"),
    ),
    Host(
        "Java",
        "java/src/main/java/Score.java",
        ("java", "mvn"),
        "mvn -q -B package",
        "java -jar target/host.jar",
        "target/host.jar",
        ("Java", "java -version", r'version "(\d+)'),
        ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    ),
    Host(
        "Node",
        "node/score.mjs",
        ("node", "npm"),
        "npm ci",
        "node score.mjs",
        "node_modules",
        ("Node", "node --version", r"v(\d+)"),
    ),
    Host(
        "Rust",
        "rust/src/main.rs",
        ("cargo", "protoc"),
        "cargo build --locked",
        "target/debug/worldforge-jepa-host",
        "target/debug/worldforge-jepa-host",
        ("Rust", "rustc --version", r"rustc (\d+\.\d+)"),
    ),
]


def digest(host):
    """Return a digest of all that a build of the host reads."""
    found = hashlib.sha256(host.build.encode())
    for folder in host.reads:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if not MADE & set(path.relative_to(folder).parts):
                found.update(path.read_bytes())
    return found.hexdigest()


def build(host):
    """Build a host where its sources have changed; skip, by name, what its toolchain or its registry does not allow."""
    require(host.needs)
    built, wanted = ROOT / "build/hosts" / host.language, digest(host)
    if (host.folder / host.made).exists() and built.exists() and built.read_text() == wanted:
        return
    done = subprocess.run(
        host.build, shell=True, cwd=host.folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    said = done.stdout + done.stderr
    if done.returncode and any(sign in said for sign in UNREACHABLE):
        pytest.skip(f"{host.language}'s packages are not here: {said[-300:]}")
    assert not done.returncode, said
    built.parent.mkdir(parents=True, exist_ok=True)
    built.write_text(wanted)


async def run(host, target, **environment):
    """Run a host; its exit code, and what it printed on stdout and on stderr."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *host.command, target, cwd=host.folder, env=os.environ | environment, stdout=pipe, stderr=pipe
    )
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    return process.returncode, out.decode(), err.decode()
