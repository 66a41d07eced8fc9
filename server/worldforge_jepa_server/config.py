"""What a server is told at its start: frozen dataclasses; `cli` derives its flags from their fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class ModelSource:
    """One model to serve: its name, where it comes from, and the options of that source."""

    name: str
    source: str
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> ModelSource:
        """Parse `NAME` or `NAME=SOURCE[,key=value...]`; a bare NAME is its own source.

        Raises:
            ValueError: an empty name or source, or an option that is not key=value.
        """
        head, *rest = text.split(",")
        name, separator, source = head.partition("=")
        pairs = [item.partition("=") for item in rest]
        if not name or (separator and not source) or any(not key or not equals for key, equals, _ in pairs):
            raise ValueError(f"{text!r} is not NAME or NAME=SOURCE[,key=value...]")
        return cls(name, source or name, {key: value for key, _, value in pairs})


class ByteSize(int):
    """A number of bytes, from text like 512MiB, 2GiB, 1.5GB or 4096."""

    _UNITS = MappingProxyType(
        {unit + end: base**power for base, end in ((1000, "B"), (1024, "iB")) for power, unit in enumerate("KMGT", 1)}
    )

    def __new__(cls, text: str | int) -> ByteSize:
        """Parse.

        Raises:
            ValueError: not a positive number with one of the suffixes KB, MB, GB, TB, KiB, MiB, GiB, TiB or none.
        """
        match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]i?B)?", str(text))
        size = float(match[1]) * cls._UNITS.get(match[2], 1) if match else 0
        if size < 1:
            raise ValueError(f"{text!r} is not a size like 512MiB")
        return super().__new__(cls, size)

    def __str__(self) -> str:
        suffix = next((unit for unit in ("TiB", "GiB", "MiB", "KiB") if self % self._UNITS[unit] == 0), "")
        return f"{int(self) // self._UNITS.get(suffix, 1)}{suffix}"


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ServerConfig:
    """Everything that one server process can be told."""

    listen: str = _setting("127.0.0.1:50051", "host:port or unix:/path; port 0 picks a free one")
    model: tuple[ModelSource, ...] = _setting(
        (ModelSource("tiny", "tiny"),), "NAME or NAME=SOURCE[,key=value...]; repeatable, the first is the default"
    )
    lazy: bool = _setting(False, "serve while models load; one that cannot be loaded is an error to its callers alone")
    device: str = _setting("cpu", "torch device of the models: cpu, cuda, cuda:1")
    threads: int = _setting(0, "torch threads; 0 is one per core, too many where other processes want the cores")
    queue_size: int = _setting(
        1_000_000, "candidates x horizon of all calls accepted at a time, running ones included; more are refused"
    )
    batching: bool = _setting(True, "run what waits for the same model and horizon in one call of the model")
    chunk_size: int = _setting(512, "most candidates unrolled at a time; others go between")
    memory_budget: int = _setting(
        ByteSize("1GiB"),
        "memory for what is unrolled at a time, beside weights and cache; fewer candidates go at a time",
    )
    cache_mib: int = _setting(512, "latents kept for contexts and repeated frames, in MiB")
    context_ttl: float = _setting(600.0, "seconds a context lives after its last use")
    max_message_mib: int = _setting(64, "largest request and response, in MiB")
    shared_memory: bool = _setting(False, "read tensors that clients on this host share in /dev/shm; Linux only")
    drain_seconds: float = _setting(30.0, "how long accepted calls may take to finish after SIGTERM")
    hang_seconds: float = _setting(
        300.0, "a batch that runs longer makes the server not ready, and after as long again the process exits"
    )
    reflection: bool = _setting(True, "serve gRPC reflection, which grpcurl and ghz use")
    log_level: str = _setting("info", "debug, info, warning or error; logs go to stderr")

    @property
    def cache_bytes(self) -> int:
        """`cache_mib` in bytes."""
        return self.cache_mib * 2**20

    @property
    def max_message_bytes(self) -> int:
        """`max_message_mib` in bytes."""
        return self.max_message_mib * 2**20
