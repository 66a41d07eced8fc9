"""Who may import whom: the client needs no torch, and the server's rooms know only their neighbours."""

import ast
from pathlib import Path

import pytest

from tests.imports import loaded_after

ROOT = Path(__file__).parent.parent
SERVER = ROOT / "server" / "worldforge_jepa_server"
CLIENT = ROOT / "worldforge_jepa_client"

# Module of the server: the server's modules it may import.
ARROWS = {
    "__init__": set(),
    "__main__": {"cli"},
    "cli": {"config", "models", "serve"},
    "config": set(),
    "convert": {"models"},
    "parity": {"config", "contexts", "deployment", "encoding", "engine", "jobs", "models", "scenes", "score_jobs"},
    "serve": {
        "allocator", "config", "device", "engine", "models", "reflection", "runtime", "servicer", "shared_memory", "warmup"
    },
    "allocator": set(),
    "reflection": set(),
    "shared_memory": {"config", "errors"},
    "servicer": {"engine", "errors", "runtime", "streams"},
    "streams": {"engine", "errors", "runtime", "scenes"},
    "errors": set(),
    "runtime": {
        "config", "contexts", "deployment", "encoding", "engine", "jobs", "models", "planning", "scenes", "score_jobs"
    },
    "engine": {"scheduler"},
    "scheduler": set(),
    "contexts": set(),
    "scenes": {"contexts", "encoding", "models"},
    "deployment": {"config", "models"},
    "jobs": {"deployment", "device", "encoding", "engine", "memory", "models", "scenes", "score_jobs", "scoring"},
    "score_jobs": {"batching", "deployment", "device", "engine", "memory", "scenes", "scoring"},
    "warmup": {"contexts", "encoding", "memory", "models", "scoring"},
    "scoring": {"batching", "device", "encoding", "memory", "models"},
    "batching": {"models"},
    "encoding": {"contexts", "models"},
    "planning": set(),
    "device": set(),
    "memory": set(),
    "models": {"config", "models"},
}  # fmt: skip
TORCH = {"batching", "device", "encoding", "jobs", "memory", "models", "planning", "score_jobs", "scoring", "warmup"}
PROTOBUF = {"servicer", "errors", "reflection", "streams"}
CLIENT_PROTOBUF = {
    "aio_client", "calldata", "client", "errors", "messages", "model_messages", "session_messages", "steps", "structs",
    "tensors",
}  # fmt: skip


def imports(path):
    """The modules that a file imports, dotted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def server_files():
    return sorted(SERVER.rglob("*.py"))


def room(path):
    return path.relative_to(SERVER).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", server_files(), ids=lambda path: str(path.relative_to(SERVER)))
def test_server_rooms_import_only_along_the_arrows(path):
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "worldforge_jepa_server" and len(parts) > 1:
            target = parts[1] if parts[1] in ARROWS else "__init__"
            assert target in ARROWS[room(path)], f"{room(path)} imports {name}"
        if parts[0] == "torch":
            assert room(path) in TORCH, f"{room(path)} imports torch"
        if name.startswith("google.protobuf"):
            assert room(path) in PROTOBUF, f"{room(path)} imports protobuf"


@pytest.mark.parametrize("path", sorted(CLIENT.glob("*.py")), ids=lambda path: path.name)
def test_the_client_never_imports_the_server_or_torch(path):
    for name in imports(path):
        assert name.split(".")[0] not in {"worldforge_jepa_server", "torch"}, name
        if name.startswith(("google.protobuf", "worldforge_jepa_client.v1")):
            assert path.stem in CLIENT_PROTOBUF, f"{path.name} imports protobuf"


BY_NAME = {"cli.py", "local_server.py"}  # the command that the server's package adds, and the process that is started


@pytest.mark.parametrize("path", sorted(CLIENT.glob("*.py")), ids=lambda path: path.name)
def test_only_what_starts_it_knows_the_server_by_name(path):
    texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
    named = any(str(text).startswith("worldforge_jepa_server") for text in texts)
    assert named == (path.name in BY_NAME)


def test_importing_the_client_loads_no_torch():
    statement = "import worldforge_jepa_client, worldforge_jepa_client.planning, worldforge_jepa_client.provider"
    assert "torch" not in loaded_after(statement)


def test_parsing_flags_loads_no_torch():
    assert "torch" not in loaded_after("from worldforge_jepa_server.cli import parse_config; parse_config([], {})")
