"""`python -m scripts.pages`: write the pages of docs that are made from code; `--check` says which differ."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from scripts import api_page, errors_page, options_page
from worldforge_jepa_client.rpc.channel import TARGET_VARIABLE

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"api.md": api_page.page, "errors.md": errors_page.page, "options.md": options_page.page}


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page differs")
    check = parser.parse_args().check
    os.environ.pop(TARGET_VARIABLE, None)  # the page names the default
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"{', '.join(stale)}: not what the code says; run: make generate", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
