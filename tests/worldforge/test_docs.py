"""Every Python block of docs/worldforge.md runs, one after the other, as a reader would type them."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from tests.provider import worldforge_standin

PAGE = Path(__file__).parents[2] / "docs" / "worldforge.md"


def test_the_page_can_be_followed(target, monkeypatch, capsys):
    monkeypatch.setenv("WORLDFORGE_JEPA_TARGET", target)
    if find_spec("worldforge.control") is None:
        monkeypatch.setitem(sys.modules, "worldforge.control", worldforge_standin)
    blocks, names = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL), {}
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 - the page is this project's
    names["provider"].close()
    assert "sha256:" in capsys.readouterr().out
