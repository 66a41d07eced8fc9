"""`worldforge-jepa-server`: flags derived from the config's fields; torch is imported only after they are parsed."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from worldforge_jepa_server.app import logs
from worldforge_jepa_server.app.cores import openmp_environment
from worldforge_jepa_server.config import ModelSource, ServerConfig

# Read by libraries when they are loaded; the user's own values win.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # torch has its own threads; idle ones of numpy's BLAS spin
    "GRPC_VERBOSITY": "NONE",  # gRPC's own lines go to stderr past the log, and any client can cause them
}


def parse_config(arguments: Sequence[str], environment: Mapping[str, str]) -> ServerConfig:
    """Return the config that the flags give; what no flag says comes from the environment, then from the default.

    `--queue-size` is WORLDFORGE_JEPA_QUEUE_SIZE there; `--device` also honours JEPA_WMS_DEVICE. Exits with a usage
    error on anything malformed.
    """
    parser = argparse.ArgumentParser(
        "worldforge-jepa-server",
        description="Serve JEPA world models over gRPC.",
        epilog="Each flag is also an environment variable: --queue-size is WORLDFORGE_JEPA_QUEUE_SIZE.",
    )
    for item in dataclasses.fields(ServerConfig):
        text = f"{item.metadata['help']} (default: {_default_text(item.default)})"
        parser.add_argument(_flag(item), help=text, **_argument(item.default))
    values = vars(parser.parse_args([*_flags_from(environment), *arguments]))
    models = tuple(values.pop("model") or ServerConfig.model)
    if len({model.name for model in models}) < len(models):
        parser.error("--model: two models have the same name")
    return ServerConfig(model=models, **values)


def main() -> int:
    """Run a server; return 0 after a drain, 1 where it could not start."""
    config = parse_config(sys.argv[1:], os.environ)
    logs.configure(config.log_level)
    for name, value in (_ENVIRONMENT | openmp_environment()).items():
        os.environ.setdefault(name, value)
    log = logging.getLogger("worldforge_jepa_server")
    try:
        from worldforge_jepa_server.app.process import standard_output
        from worldforge_jepa_server.app.serve import BindError, ServerEndedError, serve
        from worldforge_jepa_server.models.registry import ModelLoadError
    except ModuleNotFoundError as error:
        log.critical("cannot start: %s: pip install 'worldforge-jepa[server]'", error)
        return 1

    log.info("OpenMP: %s", ", ".join(f"{name}={os.environ[name]}" for name in openmp_environment()))
    try:
        with standard_output() as announce:
            asyncio.run(serve(config, announce))
    except ServerEndedError as error:
        log.critical("%s", error)
        return 1
    except (BindError, ModelLoadError) as error:
        log.critical("cannot start: %s", error)
        return 1
    return 0


def _flag(item: dataclasses.Field[Any]) -> str:
    return f"--{item.name.replace('_', '-')}"


def _argument(default: Any) -> dict[str, Any]:
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction, "default": default}
    if isinstance(default, tuple):
        return {"action": "append", "type": _model, "metavar": "MODEL"}
    return {"type": type(default), "default": default, "metavar": type(default).__name__.upper()}


def _default_text(default: Any) -> str:
    return " ".join(model.name for model in default) if isinstance(default, tuple) else str(default).lower()


def _model(text: str) -> ModelSource:
    try:
        return ModelSource.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _flags_from(environment: Mapping[str, str]) -> list[str]:
    flags = []
    for item in dataclasses.fields(ServerConfig):
        value = environment.get(f"WORLDFORGE_JEPA_{item.name.upper()}")
        if item.name == "device":
            value = value or environment.get("JEPA_WMS_DEVICE")
        if value and isinstance(item.default, bool):
            flags.append(_flag(item) if value.lower() in ("1", "true", "yes") else f"--no-{_flag(item)[2:]}")
        elif value:
            flags += [_flag(item), value]
    return flags
