"""Print a script that completes commands and flags in a shell; `source` it, or save it where the shell looks."""

from __future__ import annotations

import argparse
import contextlib

import shtab

from worldforge_jepa_client.tools import cli


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="the shell to complete in")


def run(arguments: argparse.Namespace) -> int:
    """Print the script and return 0."""
    print(shtab.complete(_parser(), arguments.shell))
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return a parser of all commands; one whose package is not installed has no flags to complete."""
    parser = argparse.ArgumentParser("worldforge-jepa")
    commands = parser.add_subparsers()
    for name, command in cli.COMMANDS.items():
        own = commands.add_parser(name, help=command.purpose)
        with contextlib.suppress(ImportError):
            cli.add_command(own, name)
    return parser
