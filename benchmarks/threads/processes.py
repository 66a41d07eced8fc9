"""The processes of the measurement: those that score, one for each way to wait, and those that keep the cores busy."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

_WORKER = (sys.executable, "-m", "benchmarks.threads.worker")
_BUSY = (sys.executable, "-c", "print('ready', flush=True)\nwhile True: pass")
NEIGHBOURS = {
    "nothing": (),
    "a busy loop": (_BUSY,),
    "another torch process": ((*_WORKER, "--shared", "--forever"),),
    "three of them": ((*_WORKER, "--shared", "--forever"),) * 3,
}
"""What runs beside the scores; torch processes have torch's threads and libgomp's own defaults."""

LIBGOMP_DEFAULT = {"GOMP_SPINCOUNT": "300000"}
"""What libgomp has of itself; said, because this project's processes, the workers too, else set their own."""

_OPENMP = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


@contextlib.contextmanager
def started(*commands: tuple[str, ...], variables: Mapping[str, str] = {}) -> Iterator[list[subprocess.Popen[str]]]:
    """Run commands until the end of the body, which starts when each has said that it is ready."""
    unset = {name: value for name, value in os.environ.items() if name not in _OPENMP}
    with contextlib.ExitStack() as stack:
        processes = []
        for command in commands:
            environment, pipe = {**unset, **variables}, subprocess.PIPE
            process = stack.enter_context(
                subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)
            )
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield processes


@contextlib.contextmanager
def worker(variables: Mapping[str, str], flags: Sequence[str] = (), nice: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Run a process that scores on demand, with these variables of OpenMP and no others; below 0 nice needs root."""
    with started(("nice", "-n", str(nice), *_WORKER, *flags), variables=variables) as (process,):
        yield process


def score(process: subprocess.Popen[str], samples: int, times: int) -> list[float]:
    """Return the seconds of so many scores."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{samples} {times}\n")
    process.stdin.flush()
    seconds: list[float] = json.loads(process.stdout.readline())
    return seconds
