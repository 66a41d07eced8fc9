"""`worldforge-jepa COMMAND`: each command is a module with `add_arguments(parser)` and `run(arguments)`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.tools.connection import advice
from worldforge_jepa_client.tools.exit_code import exit_code
from worldforge_jepa_client.version import __version__


class Command(NamedTuple):
    """The module of a command, imported when it is chosen, its purpose, and the extra that it may need."""

    module: str
    purpose: str
    extra: str = "server"


_CLIENT, _SERVER = "worldforge_jepa_client.tools", "worldforge_jepa_server.tools"
COMMANDS = {
    "info": Command(f"{_CLIENT}.operate.info", "print what each served model is, takes and allows"),
    "health": Command(f"{_CLIENT}.operate.health", "tell whether a server takes calls, or wait until it does"),
    "score": Command(f"{_CLIENT}.operate.score", "score candidates once, of noise or of a file"),
    "top": Command(f"{_CLIENT}.operate.top", "watch a server by its metrics", "cli"),
    "smoke": Command(f"{_CLIENT}.smoke", "score a synthetic scene on a server and keep the evidence"),
    "record": Command(f"{_CLIENT}.recording.record", "record the calls of clients to a server, as a proxy before it"),
    "replay": Command(
        f"{_CLIENT}.recording.replay", "send recorded calls to a server, and say what it answers differently"
    ),
    "report": Command(f"{_CLIENT}.recording.report", "write a page of the plans in a recording"),
    "calldata": Command(f"{_CLIENT}.calldata", "write requests for ghz and other load generators"),
    "conformance": Command(f"{_CLIENT}.conformance.command", "hold a server or proxy to every promise of the proto"),
    "diagnose": Command(f"{_CLIENT}.diagnose", "tell from logged episodes whether model and inputs are fit to plan"),
    "parity": Command(f"{_SERVER}.parity", "compare a server's scores with the same model in this process"),
    "convert": Command(f"{_SERVER}.convert", "write a checkpoint and its encoder into one safetensors file"),
    "completion": Command(f"{_CLIENT}.operate.completion", "print a shell's completion script", "cli"),
}
"""The commands. Those of the server's package are named only: choosing one imports torch and the server."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code, 1 after printing the error that it raised, or 130 after Ctrl-C."""
    chosen = _parser().parse_args(arguments)
    return exit_code(f"worldforge-jepa {chosen.command}", partial(_reported, chosen))


def _reported(chosen: argparse.Namespace) -> int:
    try:
        return _run(chosen.command, chosen.arguments)
    except JepaError as error:
        problem = f"{error}{advice(error.reason)}"
    except BrokenPipeError:
        raise
    except OSError as error:
        problem = str(error)
    except ImportError as error:
        problem = f"{error}; pip install '.[{COMMANDS[chosen.command].extra}]' in a checkout of worldforge-jepa"
    print(f"worldforge-jepa {chosen.command}: {problem}", file=sys.stderr)
    return 1


def add_command(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    """Give a parser the description and the flags of a command; imports its module."""
    module = importlib.import_module(COMMANDS[name].module)
    parser.description = module.__doc__
    module.add_arguments(parser)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "worldforge-jepa",
        description="Tools around worldforge-jepa servers.",
        epilog="\n".join(f"{name:12} {command.purpose}" for name, command in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("command", choices=COMMANDS, help="see below; COMMAND --help shows its flags")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    return parser


def _run(name: str, arguments: Sequence[str]) -> int:
    parser = add_command(argparse.ArgumentParser(f"worldforge-jepa {name}"), name)
    code: int = importlib.import_module(COMMANDS[name].module).run(parser.parse_args(arguments))
    return code
