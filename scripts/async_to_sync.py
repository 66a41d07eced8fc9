"""`python scripts/async_to_sync.py`: make the blocking client and its tests from those for asyncio; `--check` compares.

A few substitutions on the text turn one into the other, because whatever truly differs (channels, futures, threads or
tasks) stands in modules that have the same names on both sides and are written by hand.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (ROOT / "worldforge_jepa_client" / "rpc" / "aio", ROOT / "tests" / "aio")
BY_HAND = {"__init__.py", "connection.py", "conftest.py", "support.py"}
SUBSTITUTIONS = [
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bAsync([A-Z]\w*)", r"\1"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\banext\(", "next("),
    (r"\bCallable\[\[(.*?)\], Awaitable\[(\w+)\]\]", r"Callable[[\1], \2]"),
    (r"\bAwaitable, ", ""),
    (r"\b(rpc|tests)\.aio\b", r"\1.sync"),
    (r"\baclosing\b", "closing"),
    (r" for asyncio\b", ""),
]


def to_sync(text: str, name: str) -> str:
    """Return the blocking form of a module."""
    for pattern, replacement in SUBSTITUTIONS:
        text = re.sub(pattern, replacement, text)
    return _formatted(f"# Made from {name} by scripts/async_to_sync.py.\n{text}")


def _formatted(text: str) -> str:
    """Return text in the project's format: names have become shorter, and their order another."""
    for command in (["check", "--select=I", "--fix", "--quiet"], ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename=sync.py", "-"],
            input=text,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return text


def main() -> int:
    """Write the modules, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a module differs")
    check = parser.parse_args().check
    stale = []
    sources = [path for folder in FOLDERS for path in sorted(folder.glob("*.py")) if path.name not in BY_HAND]
    for source in sources:
        target = source.parents[1] / "sync" / source.name
        text = to_sync(source.read_text(encoding="utf-8"), source.relative_to(ROOT).as_posix())
        if not check:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            stale.append(str(target.relative_to(ROOT)))
    if stale:
        print(f"{', '.join(stale)}: not what the asyncio form says; run: make generate", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
