"""Values of the configuration that are no plain number or text: models, sizes and booleans."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from types import MappingProxyType

_MODEL = re.compile(r'([^=,"]+)(?:=([^,"]+))?((?:,[^=,"]+=(?:"[^"]*"|[^,"]*))*)')
_OPTION = re.compile(r',([^=,"]+)=("[^"]*"|[^,"]*)')


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
