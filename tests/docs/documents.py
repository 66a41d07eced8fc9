"""Follows a document as its reader does, in a checkout: each `sh` block in one shell, each `python` block in one namespace.

A block below `<!-- skip: next "reason" -->` is not run but counted, as is one below `<!-- skip: next if(...) -->` where
that holds. Two programs are stand-ins: pip, which only checks that what it is to install exists, and make, which runs dry.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from unittest import SkipTest

from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from benchmarks.load import ghz

REPOSITORY = Path(__file__).parents[2]
CHECKOUT = ("benchmarks", "deploy", "docs", "examples", "protos", "scripts", "tests")
PROGRAMS = {"worldforge-jepa": "worldforge_jepa_client", "worldforge-jepa-server": "worldforge_jepa_server"}
DEFAULT_PORT = "50051"
BLOCK_SECONDS = 120
_DONE = "block done"


class Shell:
    """One bash, in a folder that is also its home; a command that fails ends it."""

    def __init__(self, folder, variables):
        python = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "server")])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WORLDFORGE_JEPA_")}
        path = os.pathsep.join([str(_programs(folder)), str(Path(sys.executable).parent), os.environ["PATH"]])
        self.process = subprocess.Popen(
            ["/bin/bash", "--norc", "-e", "-o", "pipefail"],
            cwd=folder,
            env=kept | {"HOME": str(folder), "PATH": path, "PYTHONPATH": python} | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, example):
        """Run a block; AssertionError with its output where a command fails, or takes too long."""
        self.process.stdin.write(f"{example.parsed}\necho; echo {_DONE}\n")
        self.process.stdin.flush()
        late = threading.Timer(BLOCK_SECONDS, self._kill)
        late.start()
        output = []
        try:
            for line in self.process.stdout:
                if line == f"{_DONE}\n":
                    return "".join(output)
                output.append(line)
        finally:
            late.cancel()
        raise AssertionError(f"line {example.line} of the document failed:\n{example.parsed}\n{''.join(output)}")

    def close(self):
        """End the shell and everything that it has started."""
        self._kill()
        self.process.communicate()

    def _kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass
class Followed:
    """The output of a document's `sh` blocks, by line, the reasons of skipped blocks, and the server that it calls."""

    target: str
    printed: dict[int, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


@contextlib.contextmanager
def following(document, folder, target=None, ports=(), python=True):
    """Run the blocks of a document in its order; yield what they did. What they started ends behind the `with`.

    Args:
        document: its path in the repository.
        folder: an empty one, which becomes the root of its reader's checkout.
        target: of the server that runs already; without one the document starts its own, on a free port.
        ports: those that it names beside the default one; each becomes a free one.
        python: whether to run its `python` blocks too.
    """
    free = {port: str(free_port()) for port in ports}
    target = target or f"127.0.0.1:{free_port()}"
    free[DEFAULT_PORT] = target.rpartition(":")[2]
    text = re.sub("|".join(free), lambda port: free[port[0]], (REPOSITORY / document).read_text())
    for name in CHECKOUT:
        (folder / name).symlink_to(REPOSITORY / name)
    copy = folder / Path(document).name
    copy.write_text(text)
    with contextlib.ExitStack() as stack:
        shell = Shell(folder, {"WORLDFORGE_JEPA_TARGET": f"localhost:{free[DEFAULT_PORT]}"})
        stack.callback(shell.close)
        stack.callback(os.chdir, Path.cwd())
        os.chdir(folder)
        yield _follow(copy, shell, Followed(target), python)


def follow(document, folder, target=None, **options):
    """Run the blocks as `following` does; return what they did."""
    with following(document, folder, target, **options) as followed:
        return followed


def _follow(copy, shell, followed, python):
    def evaluate(example):
        followed.printed[example.line] = shell.run(example)

    parsers = [CodeBlockParser("sh", evaluate), *([PythonCodeBlockParser()] if python else []), SkipParser()]
    document = Sybil(parsers).parse(copy)
    document.namespace["which"] = lambda tool: None if tool == "ghz" and ghz.unusable() else which(tool)
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest as skip:
            followed.skipped.append(str(skip))
    return followed


def _programs(folder):
    """Return a folder of the project's commands, and of the stand-ins."""
    programs = folder / ".programs"
    programs.mkdir()
    commands = {name: f"{shlex.quote(sys.executable)} -m {module}" for name, module in PROGRAMS.items()}
    commands["pip"] = f"{shlex.quote(sys.executable)} -m tests.docs.pip_standin"
    commands["make"] = f"{which('make')} --dry-run --directory {shlex.quote(str(REPOSITORY))}"
    for name, command in commands.items():
        path = programs / name
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(0o755)
    return programs


def free_port():
    """Return a port of this machine that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
