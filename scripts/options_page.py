"""docs/options.md: the settings of the server, and the flags of each command."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable

from worldforge_jepa_client.tools import cli, connection
from worldforge_jepa_server.cli import default_text
from worldforge_jepa_server.config import ServerConfig

INTRODUCTION = """\
# Options

Made by `make generate` from the code. [errors.md](errors.md) has the reasons of errors, [api.md](api.md) the methods.

## The server

`worldforge-jepa-server` takes each setting as a flag (`--queue-size`), as a variable (`WORLDFORGE_JEPA_QUEUE_SIZE`) and
as a key of the TOML file that `--config` names (`queue_size`); a flag goes before a variable, and a variable before the
file. A setting that is on by default is turned off by `--no-...`.

"""
HEAD = "| option | default | |\n|---|---|---|\n"


def page() -> str:
    """Return the page."""
    parts = [INTRODUCTION, _settings(), "\n## The commands\n\nEach command that calls a server takes these too:\n\n"]
    parts.append(_flags(_reaching_a_server()))
    parts += [_command(name, command) for name, command in cli.COMMANDS.items()]
    return "".join(parts)


def _settings() -> str:
    rows = [(item.name.replace("_", "-"), default_text(item.name), item.metadata["help"]) for item in _fields()]
    return HEAD + "".join(f"| `--{name}` | {_code(default)} | {_cell(text)} |\n" for name, default, text in rows)


def _fields() -> Iterable[dataclasses.Field[object]]:
    return dataclasses.fields(ServerConfig)


def _command(name: str, command: cli.Command) -> str:
    title = f"\n### worldforge-jepa {name}\n\n{command.purpose[:1].upper()}{command.purpose[1:]}.\n"
    if command.module.startswith("worldforge_jepa_server"):  # whose import takes torch
        return f"{title}\n`--help` lists its flags, where the server is installed.\n"
    shared = {action.dest for action in _reaching_a_server()}
    own = [action for action in cli.add_command(_parser(), name)._actions if action.dest not in shared]
    return f"{title}\n{_flags(own)}" if own else title


def _reaching_a_server() -> list[argparse.Action]:
    parser = _parser()
    connection.add_arguments(parser)
    return parser._actions


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(add_help=False)


def _flags(actions: Iterable[argparse.Action]) -> str:
    return HEAD + "".join(_row(action) for action in actions)


def _row(action: argparse.Action) -> str:
    name = action.option_strings[0] if action.option_strings else action.dest.upper()
    text, _, default = (action.help or "").rpartition(" (default: ")
    return f"| `{name}` | {_code(default.rstrip(')')) if text else ''} | {_cell(text or default)} |\n"


def _code(default: str) -> str:
    return f"`{default}`" if default else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("%%", "%")
