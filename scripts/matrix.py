"""`python scripts/matrix.py`: lint and tests on every Python found, and with the lowest and the newest dependencies.

Runs named client-VERSION are the client's tests alone, on a Python without torch, against servers of the main one.
One environment at a time is made in build/matrix, used and removed: with torch it takes 5 GB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from worldforge_jepa_client.tools.exit_code import exit_code

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "matrix"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LOWEST, NEWEST = PYTHONS[0], PYTHONS[-1]
LOCK = ROOT / "constraints-dev.txt"
# Those whose lowest versions are tried; ray and rerun ask for newer libraries than ours.
EXTRAS = ("server", "cli", "examples", "hdf5", "otel")
CLIENT_TESTS = (
    "tests/aio",
    "tests/client",
    "tests/inputs/test_checks.py",
    "tests/inputs/test_messages.py",
    "tests/inputs/test_structs.py",
    "tests/inputs/test_tensors.py",
    "tests/planning",
    "tests/shared_memory",
)  # without tests/sync, which are made from tests/aio
DEVELOPMENT_TESTS = ("tests/deploy", "tests/docs", "tests/project", "tests/ray")  # which need tools of development
HOST_TESTS = ("tests/interop/test_hosts.py",)  # of programs in other languages, which take minutes to build
LINT = (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), ("lint-imports", "--no-cache"))
UV = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"


def main() -> int:
    """Run what is asked for and print a line for each run; exit with 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", help=f"of {', '.join(_all_runs())}; default: all of them")
    outcomes = {run: _outcome(run) for run in parser.parse_args().runs or _all_runs()}
    print(*(f"{run:8} {outcome}" for run, outcome in outcomes.items()), sep="\n")
    return int(any(outcome.startswith("failed") for outcome in outcomes.values()))


def _all_runs() -> tuple[str, ...]:
    return (*PYTHONS, "lowest", "newest", f"client-{LOWEST}", f"client-{NEWEST}")


def _outcome(run: str) -> str:
    version = {"lowest": LOWEST, "newest": NEWEST}.get(run, run.removeprefix("client-"))
    python = _interpreter(version)
    if python is None:
        return f"skipped: no Python {version} here"
    try:
        for command in _client_commands(python) if run.startswith("client-") else _commands(run, python):
            print("+", *command, flush=True)
            if subprocess.run(command, cwd=ROOT, env=_environment(run), check=False).returncode:
                return f"failed: {' '.join(command)}"
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    return "passed"


def _interpreter(version: str) -> str | None:
    """Find a Python that runs: on the PATH, where pyenv's shims stand for versions that are not there, or of pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for python in (f"python{version}", *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))):
        if shutil.which(python) and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
            return python
    return None


def _commands(run: str, python: str) -> Iterator[list[str]]:
    """What makes the environment and uses it; the next begins when the one before has passed."""
    yield [UV, "venv", "--quiet", "--clear", "--python", python, str(FOLDER)]
    constraints = ["--constraint", str(_lowest(python) if run == "lowest" else LOCK)] if run != "newest" else []
    extras = ",".join((*EXTRAS, "test")) if run == "lowest" else "dev"
    yield [UV, "pip", "install", "--no-config", *constraints, "--editable", f".[{extras}]"]
    if run != "lowest":  # the type stubs of old libraries are not what the code is checked against
        for program, *arguments in LINT:
            # The newest numpy's types are written for a newer Python than mypy is told to check for.
            target = ["--python-version", NEWEST] if (run, program) == ("newest", "mypy") else []
            yield [str(FOLDER / "bin" / program), *arguments, *target]
    left_out = [f"--ignore={tests}" for tests in HOST_TESTS + (DEVELOPMENT_TESTS if run == "lowest" else ())]
    yield [str(FOLDER / "bin" / "pytest"), "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", *left_out]


def _client_commands(python: str) -> Iterator[list[str]]:
    yield [UV, "venv", "--quiet", "--clear", "--python", python, str(FOLDER)]
    yield [UV, "pip", "install", "--no-config", "--constraint", str(LOCK), "--editable", ".[cli,examples,test]"]
    yield [str(FOLDER / "bin" / "pytest"), "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile", *CLIENT_TESTS]


def _lowest(python: str) -> Path:
    """Write constraints: the lowest versions of what users install, and the lock file's for the tools."""
    command = [UV, "pip", "compile", "--quiet", "--no-config", "--no-header", "--no-annotate"]
    command += ["--resolution", "lowest-direct", *(f"--extra={name}" for name in EXTRAS)]
    compiled = subprocess.run(
        [*command, "--python", python, "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    low = compiled.stdout.splitlines()
    names = {line.partition("==")[0] for line in low}
    tools = [line for line in LOCK.read_text(encoding="utf-8").splitlines() if line.partition("==")[0] not in names]
    path = FOLDER / "lowest.txt"
    path.write_text("\n".join([*low, *tools, ""]), encoding="utf-8")
    return path


def _environment(run: str) -> dict[str, str]:
    own = {"VIRTUAL_ENV": str(FOLDER), "PATH": f"{FOLDER / 'bin'}:{os.environ['PATH']}"}
    if run.startswith("client-"):
        own["SERVER_PYTHON"] = sys.executable
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own


if __name__ == "__main__":
    sys.exit(exit_code("matrix", main))
