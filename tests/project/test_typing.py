"""Outside the checkout, editors and mypy know the clients: their keywords, and the types that they return."""

import subprocess
import sys
from pathlib import Path

import worldforge_jepa_client
import worldforge_jepa_server

ROOT = Path(__file__).parents[2]
USER = """
import asyncio
from worldforge_jepa_client import AsyncClient, Client, __version__

reveal_type(__version__)
with Client("127.0.0.1:50051") as client:
    reveal_type(client.score(observation=0, goal=0, action_candidates=0, objective="l1"))
    reveal_type(client.plan(observation=0, goal=0, horizon=6).result())
    with client.session(observation=0, goal=0) as session:
        reveal_type(session.submit(0))
    client.score(observation=0, goal=0, action_candidates=0, objektive="l1")
    client.plan(observation=0, goal=0, horizon="six")


async def main() -> None:
    async with AsyncClient("127.0.0.1:50051") as client:
        reveal_type(await client.score(observation=0, goal=0, action_candidates=0))


asyncio.run(main())
"""
TYPES = "worldforge_jepa_client.contract.types"


def test_mypy_finds_the_types_in_a_file_elsewhere(tmp_path):
    (tmp_path / "user.py").write_text(USER)
    packages = tmp_path / "site-packages"
    packages.mkdir()
    (packages / "worldforge_jepa_client").symlink_to(Path(worldforge_jepa_client.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "user.py"],
        cwd=tmp_path,
        env={"MYPYPATH": str(packages), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    said = [line.removeprefix("user.py:") for line in done.stdout.splitlines() if line.startswith("user.py:")]
    assert [line.split(": ", 1)[1] for line in said if "Revealed" in line] == [
        f'note: Revealed type is "{name}"'
        for name in (
            "str",
            f"{TYPES}.ScoreResult",
            f"{TYPES}.PlanResult",
            "worldforge_jepa_client.rpc.sync.session.PendingScore",
            f"{TYPES}.ScoreResult",
        )
    ]
    errors = [line for line in said if " error: " in line]
    assert len(errors) == 2, done.stdout
    assert 'Unexpected keyword argument "objektive"' in errors[0]
    assert 'incompatible type "str"' in errors[1]


def test_both_packages_say_that_they_are_typed_and_which_version_they_are():
    for package in (worldforge_jepa_client, worldforge_jepa_server):
        assert (Path(package.__file__).parent / "py.typed").read_text() == ""
        assert f'\nversion = "{package.__version__}"\n' in (ROOT / "pyproject.toml").read_text()
