"""The configuration as a TOML file: fields by name, and for each model a table `[model.NAME]` of source and options."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from worldforge_jepa_client.errors import nearest
from worldforge_jepa_server.config import ByteSize, ConfigError, ModelSource, ServerConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FIELDS = {item.name: item for item in fields(ServerConfig)}
_MODEL_KEYS = ("source", "options")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_config(path: Path) -> dict[str, Any]:
    """Return the fields that a file sets, for `ServerConfig`, which checks them.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a key that is no setting.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError("config", f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError("config", f"{path} is not TOML: {error}") from error
    _check_known(given, _FIELDS)
    return {name: _value(name, value) for name, value in given.items()}


def write_config(config: ServerConfig) -> str:
    """Return a config as a file that `read_config` reads, each field below a comment that says what it is."""
    settings = (item for item in _FIELDS.values() if not isinstance(item.default, tuple))
    blocks = [f"# {item.metadata['help']}\n{item.name} = {_toml(getattr(config, item.name))}" for item in settings]
    return "\n\n".join([*blocks, *map(_table, config.model)]) + "\n"


def _value(name: str, value: Any) -> Any:
    default = _FIELDS[name].default
    if isinstance(default, tuple):
        return tuple(_models(value))
    if isinstance(default, ByteSize) and isinstance(value, str):
        try:
            return ByteSize(value)
        except ValueError as error:
            raise ConfigError(name, str(error)) from None
    return value


def _models(tables: Any) -> Iterator[ModelSource]:
    """Yield the models of the tables `[model.NAME]`; one without a source is its own."""
    for name, table in _as_table("model", tables).items():
        key = f"model.{name}"
        _check_known(_as_table(key, table), _MODEL_KEYS, f"{key}.")
        options = _as_table(f"{key}.options", table.get("options", {}))
        texts = {option: _as_text(f"{key}.options.{option}", value) for option, value in options.items()}
        yield ModelSource(name, _as_text(f"{key}.source", table.get("source", name)), texts)


def _check_known(given: Iterable[str], known: Collection[str], prefix: str = "") -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"{prefix}{name}", f"is no setting{nearest(name, known)}")


def _as_table(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(key, f"is {value!r}; expected a table")
    return value


def _as_text(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise ConfigError(key, f"is {value!r}; expected text, a number or a boolean")
    return str(value)


def _table(model: ModelSource) -> str:
    options = [f"options.{_key(option)} = {_toml(text)}" for option, text in model.options.items()]
    return "\n".join([f"[model.{_key(model.name)}]", f"source = {_toml(model.source)}", *options])


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _toml(value: Any) -> str:
    """Return a value in TOML's syntax, whose strings, booleans and numbers are JSON's, but for DEL."""
    text = str(value) if isinstance(value, ByteSize) else value
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
