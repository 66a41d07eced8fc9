"""The configuration of a server: frozen dataclasses; `cli` derives its flags from their fields."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections import Counter
from dataclasses import Field, dataclass, field, fields
from typing import Any

from worldforge_jepa_server.config_values import ByteSize as ByteSize
from worldforge_jepa_server.config_values import ModelSource as ModelSource
from worldforge_jepa_server.config_values import parse_bool as parse_bool


class StartError(Exception):
    """A server cannot start as it is configured: an address, a file or a package is missing or cannot be used."""


class ConfigError(ValueError):
    """A field of the config has a value that it does not take.

    Attributes:
        field: its name.
    """

    def __init__(self, field: str, problem: str) -> None:
        self.field = field
        super().__init__(problem)


def _setting(
    default: Any, text: str, *, least: float = 0, most: float = 2**31 - 1, pattern: str = "", expected: str = ""
) -> Any:
    """A field of the config: numbers from `least` to `most`, text that matches `pattern`, which `expected` words."""
    rule = {"least": least, "most": most, "pattern": pattern, "expected": expected}
    return field(default=default, metadata={"help": text, **rule})


def _path(text: str) -> Any:
    """A field of the config that names a file; empty where there is none."""
    return _setting("", text, pattern=".*", expected="a path")


@dataclass(frozen=True)
class ServerConfig:
    """The settings of one server process; each field is checked here, wherever it was set.

    Raises:
        ConfigError: a value is of another type or out of range, two models have the same name, or the server would be
            open to other machines.
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
        "torch device of the models: cpu, cuda, mps, or auto, the best one here; each of cuda:0,cuda:1 has every model",
        pattern="[a-z]+(:[0-9]{1,3})?(,[a-z]+(:[0-9]{1,3})?)*",
        expected="auto, or devices like cpu or cuda:0,cuda:1",
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
    message_budget: int = _setting(
        ByteSize("1GiB"),
        "bytes of the messages of running calls and of idle streams' scenes; more are refused, idle streams ended",
        least=1,
        most=2**53,
    )
    shared_memory: bool = _setting(False, "read tensors that clients on this host share in /dev/shm; Linux only")
    keepalive_seconds: float = _setting(
        10.0, "how long a connection is silent before the server asks whether it lives", least=0.1, most=86400
    )
    keepalive_timeout_seconds: float = _setting(
        5.0, "how long it may take to answer before the server ends it", least=0.1, most=86400
    )
    max_connection_age_seconds: float = _setting(
        0.0,
        "a connection older than this takes no new calls; those that run get --drain-seconds; 0 is no limit",
        most=1e8,
    )
    plan_seconds: float = _setting(
        3600.0, "longest time a Plan may take, its client's reading included", least=0.01, most=1e8
    )
    drain_seconds: float = _setting(30.0, "how long accepted calls may take to finish after SIGTERM", most=86400)
    hang_seconds: float = _setting(
        300.0,
        "a batch that runs longer makes the server not ready, and after as long again the process exits",
        least=0.01,
        most=86400,
    )
    tls_cert: str = _path("certificate chain, PEM: the server speaks TLS; read again when it changes")
    tls_key: str = _path("private key of --tls-cert, PEM")
    tls_client_ca: str = _path("certificates, PEM, that sign those of clients: a client must have one")
    token_file: str = _path("lines of NAME TOKEN [MODEL,MODEL...]: a call needs a token; read again when it changes")
    insecure: bool = _setting(False, "listen beyond this machine with neither TLS nor tokens")
    reflection: bool = _setting(True, "serve gRPC reflection, which grpcurl and ghz use")
    open_inference: bool = _setting(
        True, "serve the Open Inference Protocol, which Triton's and KServe's clients speak"
    )
    error_detail: bool = _setting(
        False, "tell callers the text of a foreign model's exceptions, which otherwise only the log has"
    )
    metrics_address: str = _setting(
        "",
        "host:port where Prometheus reads metrics, such as 127.0.0.1:9464, open to whatever reaches it; empty is none",
        pattern=r"|(?:\[[^\]\s]+\]|[^\s:/\[\]]+):[0-9]{1,5}",
        expected="host:port or [IPv6]:port",
    )
    log_format: str = _setting("text", "text, or json: one object a line", pattern="text|json", expected="text or json")
    slow_ms: float = _setting(0.0, "log calls and streams' answers slower than this at warning; 0 is none", most=1e9)
    log_level: str = _setting(
        "info",
        "debug, info, warning or error; logs go to stderr",
        pattern="(?i:debug|info|warning|error)",
        expected="debug, info, warning or error",
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            _check(item, getattr(self, item.name))
        if self.shared_memory and sys.platform != "linux":
            raise ConfigError("shared_memory", "needs Linux, whose /dev/shm it reads")
        _check_security(self)

    @property
    def devices(self) -> list[str]:
        """`device`, one by one."""
        return self.device.split(",")

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


def _check_security(config: ServerConfig) -> None:
    if bool(config.tls_cert) != bool(config.tls_key):
        given, missing = ("tls_cert", "--tls-key") if config.tls_cert else ("tls_key", "--tls-cert")
        raise ConfigError(given, f"needs {missing} too")
    if config.tls_client_ca and not config.tls_cert:
        raise ConfigError("tls_client_ca", "needs --tls-cert and --tls-key too")
    if not (config.tls_cert or config.token_file or config.insecure or _is_local(config.listen)):
        remedy = "set --tls-cert and --tls-key, or --token-file, or --insecure"
        raise ConfigError("listen", f"is {config.listen!r}, which is not loopback: {remedy}")


def _is_local(listen: str) -> bool:
    """Return True for an address that only this machine reaches."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return (
            listen.startswith(("unix:", "unix-abstract:"))
            or host == "localhost"
            or ipaddress.ip_address(host).is_loopback
        )
    except ValueError:
        return False
