"""README and pages, followed word by word, on the server that the README's reader starts."""

import re

import pytest

from tests.docs.documents import REPOSITORY, follow, following

ELSEWHERE = {"docs/operations.md", "examples/my_model/README.md", "README.md"}
"""Pages with tests of their own."""

SHELL_ONLY = {"docs/worldforge.md"}
"""Pages whose Python is followed by tests/worldforge, where WorldForge is."""

SKIPPED = {
    "docs/diagnosis.md": 1,
    "docs/hosts.md": 1,
    "docs/models.md": 5,
    "docs/precision.md": 2,
    "docs/scaling.md": 2,
    "docs/worldforge.md": 1,
}
"""Blocks that cannot run here."""

TOOLS = ("needs ghz", "needs grpcurl")
"""Why other blocks may be skipped."""

PORTS = {"docs/recording.md": ("50052",)}
"""Those that a page names beside the default one."""


def pages():
    """The pages that have blocks to run."""
    found = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("examples/*/*.md")]
    named = {
        path.relative_to(REPOSITORY).as_posix()
        for path in found
        if re.search(r"^```(sh|python)$", path.read_text(), re.M)
    }
    return sorted(named - ELSEWHERE)


@pytest.fixture(scope="module")
def readme(tmp_path_factory):
    """The output of the README's blocks; its server is up."""
    with following("README.md", tmp_path_factory.mktemp("readme")) as followed:
        yield followed


def test_readme_leads_from_install_to_a_plan(readme):
    printed = "".join(readme.printed.values())
    assert "SERVING" in printed
    assert "tiny: " in printed
    assert set(readme.skipped) <= set(TOOLS)
    assert "Traceback" not in printed


@pytest.mark.parametrize("page", pages())
def test_page_can_be_followed(page, readme, tmp_path):
    followed = follow(page, tmp_path, readme.target, ports=PORTS.get(page, ()), python=page not in SHELL_ONLY)
    skipped = [reason for reason in followed.skipped if reason not in TOOLS]
    assert len(skipped) == SKIPPED.get(page, 0)
    assert "Traceback" not in "".join(followed.printed.values())
