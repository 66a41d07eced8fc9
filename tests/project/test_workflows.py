"""The workflow file: sound to actionlint, and safe to zizmor, where these are installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# actionlint's package for Python downloads its program; Go builds it.
INSTALL = {"actionlint": "go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12", "zizmor": "make setup"}
PLACES = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent), str(Path.home() / "go/bin")])
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize(
    "command", [["actionlint"], ["zizmor", "--offline", "--quiet"]], ids=lambda command: command[0]
)
def test_the_workflows_are_sound(command):
    program = shutil.which(command[0], path=PLACES)
    if not program:
        pytest.skip(f"needs {command[0]}: {INSTALL[command[0]]}")
    done = subprocess.run([program, *command[1:], *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
