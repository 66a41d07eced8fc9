"""`worldforge-jepa COMMAND`: each command is a module with `add_arguments(parser)` and `run(arguments)`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from worldforge_jepa_client.errors import JepaError


class Command(NamedTuple):
    """The module of a command, imported when it is chosen, and its purpose."""

    module: str
    purpose: str


COMMANDS = {
    "smoke": Command("worldforge_jepa_client.tools.smoke", "score a synthetic scene on a server and keep the evidence"),
    "calldata": Command("worldforge_jepa_client.tools.calldata", "write requests for ghz and other load generators"),
    "diagnose": Command(
        "worldforge_jepa_client.tools.diagnose", "tell from logged episodes whether model and inputs are fit to plan"
    ),
    "parity": Command(
        "worldforge_jepa_server.tools.parity", "compare a server's scores with the same model in this process"
    ),
}
"""The commands. Those of the server's package are named only: choosing one imports torch and the server."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, or 1 after printing the error that it raised."""
    parser = argparse.ArgumentParser(
        "worldforge-jepa",
        description="Tools around worldforge-jepa servers.",
        epilog="\n".join(f"{name:10} {command.purpose}" for name, command in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, help="see below; COMMAND --help shows its flags")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    chosen = parser.parse_args(arguments)
    try:
        return _run(chosen.command, chosen.arguments)
    except (JepaError, OSError) as error:
        problem = str(error)
    except ImportError as error:
        problem = f"{error}; pip install 'worldforge-jepa[server]'"
    print(f"worldforge-jepa {chosen.command}: {problem}", file=sys.stderr)
    return 1


def _run(name: str, arguments: Sequence[str]) -> int:
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    parser = argparse.ArgumentParser(f"worldforge-jepa {name}", description=module.__doc__)
    module.add_arguments(parser)
    code: int = module.run(parser.parse_args(arguments))
    return code
