"""Follows a document as its reader does: each `sh` block in one shell, each `python` block in one namespace.

A block below `<!-- skip: next -->` is not run; nor is one in another language, such as `console`.
"""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = {"worldforge-jepa": "worldforge_jepa_client", "worldforge-jepa-server": "worldforge_jepa_server"}
DEFAULT_PORT = "50051"
BLOCK_SECONDS = 120
_DONE = "block done"


class Shell:
    """One bash, in a folder that is also its home; a command that fails ends it."""

    def __init__(self, folder, variables):
        programs = folder / ".programs"
        programs.mkdir()
        for name, module in PROGRAMS.items():
            path = programs / name
            path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
            path.chmod(0o755)
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        python = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "server")])
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WORLDFORGE_JEPA_")}
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


def follow(document, folder, ports=()):
    """Run the blocks of a document in an empty folder, in its order; return what each line's `sh` block printed.

    Args:
        document: its path in the repository.
        folder: where its reader would be.
        ports: those that it names beside the default one; each becomes a free one.
    """
    text = (REPOSITORY / document).read_text()
    free = {port: str(free_port()) for port in (DEFAULT_PORT, *ports)}
    for port, other in free.items():
        text = text.replace(port, other)
    copy = folder / Path(document).name
    copy.write_text(text)
    shell, printed = Shell(folder, {"WORLDFORGE_JEPA_TARGET": f"localhost:{free[DEFAULT_PORT]}"}), {}

    def evaluate(example):
        printed[example.line] = shell.run(example)

    parsers = [CodeBlockParser("sh", evaluate), PythonCodeBlockParser(), SkipParser()]
    with contextlib.ExitStack() as stack:
        stack.callback(shell.close)
        stack.callback(os.chdir, Path.cwd())
        os.chdir(folder)
        for example in Sybil(parsers).parse(copy).examples():
            example.evaluate()
    return printed


def free_port():
    """Return a port of this machine that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
