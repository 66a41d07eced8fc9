"""What a server is told at its start: frozen dataclasses; `cli` derives its flags from their fields."""

from __future__ import annotations

from dataclasses import dataclass, field
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


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ServerConfig:
    """Everything that one server process can be told."""

    listen: str = _setting("127.0.0.1:50051", "host:port or unix:/path; port 0 picks a free one")
    model: tuple[ModelSource, ...] = _setting(
        (ModelSource("tiny", "tiny"),), "NAME or NAME=SOURCE[,key=value...]; repeatable, the first is the default"
    )
    device: str = _setting("cpu", "torch device of the models: cpu, cuda, cuda:1")
    threads: int = _setting(0, "torch threads; 0 is one per core")
    queue_size: int = _setting(256, "calls accepted at a time, the running one included; more are refused")
    chunk_size: int = _setting(512, "candidates unrolled at a time; bounds memory")
    cache_mib: int = _setting(512, "latents kept for contexts and repeated frames, in MiB")
    context_ttl: float = _setting(600.0, "seconds a context lives after its last use")
    max_message_mib: int = _setting(64, "largest request and response, in MiB")
    drain_seconds: float = _setting(30.0, "how long accepted calls may take to finish after SIGTERM")
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
