"""Stands in for pip: says whether what it is to install exists, and installs nothing."""

import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EXTRAS = set(
    re.findall(r"^([a-z0-9]+) = \[", (REPOSITORY / "pyproject.toml").read_text().split("[project.scripts]")[0], re.M)
)
LOCKED = set(re.findall(r"^([a-z0-9-]+)==", (REPOSITORY / "constraints-dev.txt").read_text(), re.M))

for requirement in sys.argv[2:]:
    name, _, extras = requirement.rstrip("]").partition("[")
    ours = name in (".", "worldforge-jepa")
    unknown = set(extras.split(",")) - {""} - EXTRAS if ours else {name} - LOCKED
    if unknown:
        sys.exit(f"pip install {requirement}: there is no {', '.join(sorted(unknown))}")
