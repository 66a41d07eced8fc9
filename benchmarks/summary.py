"""`python -m benchmarks.summary`: write the targets of the results that are kept into README and docs/benchmarks.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.report import Target, cell

RESULTS = Path("benchmarks/results")
CLAIMS = {
    Path("docs/benchmarks.md"): ("",),
    Path("README.md"): ("calls/s of 8 planners", "a plan over a stream", "health, 8 clients"),
}
"""The pages, and how the claims begin that each has."""
BEGIN, END = "<!-- benchmarks/results, by `make bench` -->\n", "<!-- end -->\n"


def main() -> None:
    """Write."""
    for page, claims in CLAIMS.items():
        page.write_text(renewed(page.read_text(encoding="utf-8"), RESULTS, claims), encoding="utf-8")


def renewed(page: str, results: Path, claims: tuple[str, ...] = ("",)) -> str:
    """A page with what the results in a folder say, of the claims that begin so, between the two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    return "".join([before, begin, _summary(results, claims), end, after])


def _summary(results: Path, claims: tuple[str, ...]) -> str:
    tables = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    told = [
        (table["run"], target) for table in tables for target in table["targets"] if target["claim"].startswith(claims)
    ]
    runs = sorted((run for run, _ in told), key=lambda run: run["began"])
    rows = [_row(target) for _, target in told]
    return "\n".join([_how(runs), "", "| | measured | target |", "| --- | --- | --- |", *rows, ""])


def _how(runs: list[dict[str, Any]]) -> str:
    """By which commands, on what, and what else ran before the first of them."""
    commands = ", ".join(f"`{command}`" for command in dict.fromkeys(run["command"] for run in runs))
    first = runs[0]
    return f"By {commands} on {first['cores']} cores, under a load of {cell(first['load_before'])} at its start:"


def _row(saved: dict[str, Any]) -> str:
    target = Target(*(saved[name] for name in ("claim", "measured", "bound", "at_least")))
    bound = f"{'at least' if target.at_least else 'at most'} {cell(target.bound)}"
    return f"| {target.claim} | {cell(target.measured)} | {bound}{'' if target.met else ', **missed**'} |"


if __name__ == "__main__":
    main()
