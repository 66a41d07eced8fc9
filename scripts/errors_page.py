"""`python scripts/errors_page.py`: write docs/errors.md from the list of reasons; `--check` says if it differs."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from worldforge_jepa_client import reasons
from worldforge_jepa_client.errors import JepaError

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"

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


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} is not what the reasons say; run: make generate", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
