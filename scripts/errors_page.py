"""docs/errors.md: the classes of errors, and the list of reasons."""

from __future__ import annotations

import re
from pathlib import Path

from worldforge_jepa_client import reasons
from worldforge_jepa_client.errors import JepaError

INTRODUCTION = """\
# Errors

Made by `make generate` from `worldforge_jepa_client/reasons.py`.

Every failed call raises a `JepaError` in Python. Programs tell errors apart by `code`, the gRPC status, and `reason`,
one of the names below; `field` names the request's field at fault, and `retry_after` is set where a retry makes sense.
Hosts in other languages find the same in the status details: `google.rpc.ErrorInfo` (domain `worldforge.jepa`),
`BadRequest` and `RetryInfo`, and inside a stream in the message `Error`.

| class | gRPC status | meaning |
|---|---|---|
"""


def page() -> str:
    """Return the page."""
    classes = "".join(
        f"| `{error.__name__}` | {error.code.name} | {error.__doc__} |\n" for error in JepaError.__subclasses__()
    )
    return INTRODUCTION + classes + "".join(_section(title, names) for title, names in _groups())


def _groups() -> list[tuple[str, list[str]]]:
    """The headings in the list of reasons, each with the names below it."""
    groups: list[tuple[str, list[str]]] = []
    for line in Path(reasons.__file__).read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"    # (.+)", line):
            groups.append((heading[1], []))
        elif (name := re.match(r"    ([A-Z_]+) = ", line)) and groups:
            groups[-1][1].append(name[1])
    return groups


def _section(title: str, names: list[str]) -> str:
    rows = "".join(f"| `{name}` | {reasons.Reason[name].cause} | {reasons.Reason[name].remedy} |\n" for name in names)
    return f"\n## {title}\n\n| reason | cause | remedy |\n|---|---|---|\n{rows}"
