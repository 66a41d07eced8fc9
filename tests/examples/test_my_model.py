"""The commands of examples/my_model/README.md, on a server of that model."""

import re
import shlex
from pathlib import Path

import pytest

from worldforge_jepa_client import Client
from worldforge_jepa_client.tools.cli import main

README = Path("examples/my_model/README.md").read_text()
SOURCE = re.search(r"--model (mine=\S+)", README).group(1)
COMMANDS = re.findall(r"^worldforge-jepa (.+)", README, re.MULTILINE)


@pytest.fixture(scope="module")
def server(start_server):
    return start_server("--model", SOURCE, "--threads", "1")


def test_commands_succeed(server):
    assert [command.split()[0] for command in COMMANDS] == ["health", "info", "smoke", "parity"]
    for command in COMMANDS:
        assert main([*shlex.split(command), "--target", server.target]) == 0


def test_spec_is_read_from_model(server):
    with Client(server.target, timeout=60) as client:
        spec = client.model()
    assert (spec.raw_action_dim, spec.frameskip) == (2, 5)
    assert spec.normalization.action_std == (1.5, 1.5)
