"""Imports at run time: the client and the parsing of flags load no torch. Lint checks the import rules."""

import ast
from pathlib import Path

import pytest

from tests.project.imports import loaded_after

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "worldforge_jepa_client"
BY_NAME = {"cli.py", "local_server.py"}  # the command that the server's package adds, and the process that is started


@pytest.mark.parametrize("path", sorted(CLIENT.rglob("*.py")), ids=lambda path: str(path.relative_to(CLIENT)))
def test_only_what_starts_it_knows_the_server_by_name(path):
    texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    named = any(str(text).startswith("worldforge_jepa_server") for text in texts)
    assert named == (path.name in BY_NAME)


def test_importing_the_client_loads_no_torch():
    statement = "import worldforge_jepa_client, worldforge_jepa_client.planning, worldforge_jepa_client.provider"
    assert "torch" not in loaded_after(statement)


def test_the_server_sets_what_libraries_read_before_it_loads_them():
    assert not {"grpc", "numpy"} & loaded_after("import worldforge_jepa_server.__main__")


def test_parsing_flags_loads_no_torch():
    assert "torch" not in loaded_after("from worldforge_jepa_server.cli import parse_config; parse_config([], {})")
