"""The deployment files, and the commands in them as this checkout runs them."""

import shlex
import shutil
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
PROGRAMS = {
    "worldforge-jepa": [sys.executable, "-m", "worldforge_jepa_client"],
    "worldforge-jepa-server": [sys.executable, "-m", "worldforge_jepa_server"],
}


def tool(name):
    """Return the path of a checker; skips the test where it is not installed."""
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def as_here(command):
    """Return a command of a deployment file, text or words, with the programs of this checkout."""
    program, *arguments = shlex.split(command) if isinstance(command, str) else command
    return [*PROGRAMS[Path(program).name], *arguments]
