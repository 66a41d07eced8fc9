"""The configuration of a server: frozen dataclasses; `cli` derives its flags from their fields."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import Field, dataclass, field, fields
from types import MappingProxyType
from typing import Any

_MODEL = re.compile(r'([^=,"]+)(?:=([^,"]+))?((?:,[^=,"]+=(?:"[^"]*"|[^,"]*))*)')
_OPTION = re.compile(r',([^=,"]+)=("[^"]*"|[^,"]*)')


class ConfigError(ValueError):
    """A field of the config has a value that it does not take.

    Attributes:
        field: its name.
    """

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


@dataclass(frozen=True)
class ModelSource:
    """One model to serve: its name, where it comes from, and the options of that source."""

    name: str
    source: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> ModelSource:
        """Parse `NAME` or `NAME=SOURCE[,key=value...]`; a bare NAME is its own source.

        A value in double quotes may hold commas: `a=tiny,key="x,y"`.

        Raises:
            ValueError: an empty name or source, an option that is not key=value, or one that comes twice.
        """
        match = _MODEL.fullmatch(text)
        if match is None or not text.isprintable():
            raise ValueError(f"{text!r} is not NAME or NAME=SOURCE[,key=value...]; values with commas go in quotes")
        name, source, rest = match.groups()
        pairs = [(key, value.strip('"')) for key, value in _OPTION.findall(rest)]
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f"{text!r} has the option {twice[0]} twice")
        return cls(name, source or name, dict(pairs))


class ByteSize(int):
    """A number of bytes, from text like 512MiB, 2GiB, 2Gi, 1.5GB, 1G or 4096: G and GB are 10^9, Gi and GiB 2^30."""

    _UNITS = MappingProxyType(
        {unit + end: base**power for base, end in ((1000, ""), (1024, "I")) for power, unit in enumerate("KMGT", 1)}
    )

    def __new__(cls, text: str | int) -> ByteSize:
        """Parse; letters may be small.

        Raises:
            ValueError: not a positive number with one of the suffixes K, M, G, T, Ki, Mi, Gi, Ti, each with B or
                without, or none.
        """
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([KMGT]I?)?B?)", str(text).upper())
        size = float(match[1]) * cls._UNITS.get(match[2], 1) if match else 0.0
        if not 1 <= size < math.inf:
            raise ValueError(f"{text!r} is not a size like 512MiB")
        return super().__new__(cls, size)

    def __str__(self) -> str:
        suffix = next((unit for unit in ("TI", "GI", "MI", "KI") if self % self._UNITS[unit] == 0), "")
        return f"{int(self) // self._UNITS.get(suffix, 1)}{suffix.replace('I', 'iB')}"


def parse_bool(text: str) -> bool:
    """Return the boolean that text stands for.

    Raises:
        ValueError: it is none of true, yes, on, 1, false, no, off, 0.
    """
    word = text.strip().lower()
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError(f"{text!r} is not true or false")
    return word in ("true", "yes", "on", "1")


def _setting(
    default: Any, text: str, *, least: float = 0, most: float = 2**31 - 1, pattern: str = "", expected: str = ""
) -> Any:
    """A field of the config: numbers from `least` to `most`, text that matches `pattern`, which `expected` words."""
    rule = {"least": least, "most": most, "pattern": pattern, "expected": expected}
    return field(default=default, metadata={"help": text, **rule})


@dataclass(frozen=True)
class ServerConfig:
    """The settings of one server process; each field is checked here, wherever it was set.

    Raises:
        ConfigError: a value is of another type or out of range, or two models have the same name.
    """

    listen: str = _setting(
        "127.0.0.1:50051",
        "host:port or unix:/path; port 0 picks a free one",
        pattern=r"unix:(?://)?/?[^/\s].*|unix-abstract:.+|(?:\[[^\]\s]+\]|[^\s:/\[\]]+):[0-9]{1,5}",
        expected="host:port, [IPv6]:port, unix:/path or unix-abstract:name",
    )
    model: tuple[ModelSource, ...] = _setting(
        (ModelSource("tiny", "tiny"),), "NAME or NAME=SOURCE[,key=value...]; repeatable, the first is the default"
    )
    lazy: bool = _setting(False, "serve while models load; one that cannot be loaded is an error to its callers alone")
    device: str = _setting(
        "cpu",
        "torch device of the models: cpu, cuda, cuda:1",
        pattern="[a-z]+(:[0-9]{1,3})?",
        expected="a device like cpu or cuda:1",
    )
    threads: int = _setting(
        0, "torch threads; 0 is one per core, too many where other processes want the cores", most=1024
    )
    queue_size: int = _setting(
        1_000_000,
        "candidates x horizon of all calls accepted at a time, running ones included; more are refused",
        least=1,
        most=2**53,
    )
    batching: bool = _setting(True, "run what waits for the same model and horizon in one call of the model")
    chunk_size: int = _setting(512, "most candidates unrolled at a time; others go between", least=1)
    memory_budget: int = _setting(
        ByteSize("1GiB"),
        "memory for what is unrolled at a time, beside weights and cache; fewer candidates go at a time",
        least=1,
        most=2**53,
    )
    cache_mib: int = _setting(512, "latents kept for contexts and repeated frames, in MiB; 0 keeps none")
    context_ttl: float = _setting(600.0, "seconds a context lives after its last use", least=1e-6, most=1e8)
    max_message_mib: int = _setting(
        64, "largest request and response, in MiB; gRPC takes no more than 2047", least=1, most=2047
    )
    shared_memory: bool = _setting(False, "read tensors that clients on this host share in /dev/shm; Linux only")
    drain_seconds: float = _setting(30.0, "how long accepted calls may take to finish after SIGTERM", most=86400)
    hang_seconds: float = _setting(
        300.0,
        "a batch that runs longer makes the server not ready, and after as long again the process exits",
        least=0.01,
        most=86400,
    )
    reflection: bool = _setting(True, "serve gRPC reflection, which grpcurl and ghz use")
    open_inference: bool = _setting(
        True, "serve the Open Inference Protocol, which Triton's and KServe's clients speak"
    )
    error_detail: bool = _setting(
        False, "tell callers the text of a foreign model's exceptions, which otherwise only the log has"
    )
    log_level: str = _setting(
        "info",
        "debug, info, warning or error; logs go to stderr",
        pattern="(?i:debug|info|warning|error)",
        expected="debug, info, warning or error",
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item, getattr(self, item.name))

    @property
    def cache_bytes(self) -> int:
        """`cache_mib` in bytes."""
        return self.cache_mib * 2**20

    @property
    def max_message_bytes(self) -> int:
        """`max_message_mib` in bytes."""
        return self.max_message_mib * 2**20


def _check(item: Field[Any], value: Any) -> None:
    """Check one field of the config: the type of its default, and its range, pattern or names."""
    default, rule = item.default, item.metadata
    if not _is_like(value, default):
        raise ConfigError(item.name, f"is {value!r}; expected {type(default).__name__}")
    if isinstance(default, tuple):
        _check_models(item.name, value)
    elif isinstance(default, str):
        if not re.fullmatch(rule["pattern"] or ".+", value):
            raise ConfigError(item.name, f"is {value!r}; expected {rule['expected'] or 'some text'}")
    elif not rule["least"] <= value <= rule["most"]:
        raise ConfigError(item.name, f"is {value}; expected {rule['least']:.15g} to {rule['most']:.15g}")


def _is_like(value: object, default: object) -> bool:
    """Return True if a value is of the default's type; an int is a size or a float too, a boolean only itself."""
    if isinstance(value, bool) or isinstance(default, bool):
        return type(value) is type(default)
    return isinstance(value, type(default)) or (isinstance(value, int) and isinstance(default, int | float))


def _check_models(name: str, models: tuple[ModelSource, ...]) -> None:
    twice = [model for model, count in Counter(model.name for model in models).items() if count > 1]
    if twice or not models:
        raise ConfigError(name, f"two models have the same name, {twice[0]!r}" if twice else "names no model")
