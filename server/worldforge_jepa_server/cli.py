"""`worldforge-jepa-server`: flags derived from the config's fields; torch is imported only after they are parsed."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from worldforge_jepa_client.errors import nearest
from worldforge_jepa_client.version import __version__
from worldforge_jepa_server.app import logs
from worldforge_jepa_server.app.cores import openmp_environment, set_openmp_environment
from worldforge_jepa_server.config import ConfigError, ModelSource, ServerConfig, StartError, parse_bool
from worldforge_jepa_server.config_file import read_config, write_config

_PREFIX = "WORLDFORGE_JEPA_"
_CONFIG_VARIABLE = f"{_PREFIX}CONFIG"
_FIELDS = {item.name: item for item in dataclasses.fields(ServerConfig)}
_CLIENT_VARIABLES = frozenset(_PREFIX + name for name in ("TARGET", "TOKEN", "CACERT", "CLIENT_CERT", "CLIENT_KEY"))
"""Variables of the same prefix that only clients read."""
_SERVICE_LINK = re.compile(r"SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?")
"""The end of a variable that Kubernetes sets for a Service which is named like this project."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with 2 and one line, which names the flag."""
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (--help lists the flags)\n")


def parse_config(arguments: Sequence[str], environment: Mapping[str, str]) -> ServerConfig:
    """Return the config that the flags give; below them comes the environment, then the file, then the default.

    `--queue-size` is WORLDFORGE_JEPA_QUEUE_SIZE in the environment and `queue_size` in the file that `--config` names;
    `--device` also honours JEPA_WMS_DEVICE. An empty variable is unset. Exits with 2 and one line that names the flag,
    variable or key on anything malformed; with 0 after printing, where `--print-config` asks for it.
    """
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    prints, path = flags.pop("print_config", False), flags.pop("config", environment.get(_CONFIG_VARIABLE, ""))
    variables: dict[str, Any] = {}
    try:
        variables = _from_environment(environment, skip=flags)
        config = _config({**(read_config(Path(path)) if path else {}), **variables, **flags})
    except ConfigError as error:
        parser.error(f"{_origin(error.field, flags, variables, path)}: {error}")
    except ValueError as error:
        parser.error(str(error))
    if prints:
        sys.stdout.write(write_config(config))
        parser.exit()
    return config


def _config(values: dict[str, Any]) -> ServerConfig:
    return ServerConfig(**values | ({"model": tuple(values["model"])} if "model" in values else {}))


def _origin(field: str, flags: Mapping[str, Any], variables: Mapping[str, Any], path: str) -> str:
    """Return where a field was set: the flag, the variable, or the key of the file."""
    if field in flags or field == "config":
        return f"argument {_flag(field)}"
    return _variable(field) if field in variables else f"{path}: {field}"


def main() -> int:
    """Run a server; return 0 after a drain, 1 where it could not start."""
    config = parse_config(sys.argv[1:], os.environ)
    logs.configure(config.log_level, config.log_format)
    set_openmp_environment()
    log = logging.getLogger("worldforge_jepa_server")
    try:
        from worldforge_jepa_server.app.process import standard_output
        from worldforge_jepa_server.app.serve import ServerEndedError, serve
        from worldforge_jepa_server.models.registry import ModelLoadError
    except ModuleNotFoundError as error:
        log.critical("cannot start: %s: pip install '.[server]' in a checkout of worldforge-jepa", error)
        return 1

    log.info("OpenMP: %s", ", ".join(f"{name}={os.environ[name]}" for name in openmp_environment()))
    try:
        with standard_output() as announce:
            asyncio.run(serve(config, announce))
    except ServerEndedError as error:
        log.critical("%s", error)
        return 1
    except (StartError, ModelLoadError) as error:
        log.critical("cannot start: %s", error)
        return 1
    return 0


def _parser() -> _Parser:
    parser = _Parser(
        "worldforge-jepa-server",
        description="Serve JEPA world models over gRPC.",
        epilog=f"Each setting is also an environment variable, --queue-size is {_PREFIX}QUEUE_SIZE, and a key of the "
        "file, queue_size. A flag goes before a variable, and a variable before the file.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--config", metavar="FILE", help=f"settings as TOML (also {_CONFIG_VARIABLE})")
    parser.add_argument("--print-config", action="store_true", help="print the settings as such a file, and exit")
    for name, item in _FIELDS.items():
        default = default_text(name)
        text = f"{item.metadata['help']} (default: {default})" if default else item.metadata["help"]
        parser.add_argument(_flag(name), help=text.replace("%", "%%"), **_argument(item.default))
    return parser


def default_text(name: str) -> str:
    """Return a field's default as its flag takes it; of a boolean the flag itself."""
    default: Any = _FIELDS[name].default
    if isinstance(default, bool):
        return _flag(name) if default else f"--no-{_flag(name)[2:]}"
    return " ".join(model.name for model in default) if isinstance(default, tuple) else str(default)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"


def _argument(default: Any) -> dict[str, Any]:
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction}
    kind = _parse_for(default)
    if isinstance(default, tuple):
        return {"action": "append", "type": kind, "metavar": "MODEL"}
    return {"type": kind, "metavar": type(default).__name__.upper()}


def _parse_for(default: Any) -> Callable[[str], Any]:
    """Return the parser of a field's text, by the type of its default."""
    parse: Callable[[str], Any] = type(default)
    if isinstance(default, bool):
        parse = parse_bool
    elif isinstance(default, tuple):
        parse = ModelSource.parse

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def _from_environment(environment: Mapping[str, str], *, skip: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the environment sets, but those in `skip`.

    Raises:
        ValueError: a variable is malformed, or not known.
    """
    known = {_variable(name): name for name in _FIELDS}
    others = {_CONFIG_VARIABLE, *_CLIENT_VARIABLES}
    for variable in environment:
        rest = variable.removeprefix(_PREFIX)
        if rest != variable and variable not in {*known, *others} and not _is_service_link(rest):
            raise ValueError(f"the environment has {variable}, which is no setting{nearest(variable, known)}")
    given = {name: environment.get(variable, "") for variable, name in known.items()}
    given["device"] = given["device"] or environment.get("JEPA_WMS_DEVICE", "")
    return {name: _read(name, text) for name, text in given.items() if text and name not in skip}


def _is_service_link(rest: str) -> bool:
    return _SERVICE_LINK.fullmatch(rest) is not None


def _read(name: str, text: str) -> Any:
    default = _FIELDS[name].default
    try:
        value = _parse_for(default)(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{_variable(name)}: {error}") from None
    return [value] if isinstance(default, tuple) else value
