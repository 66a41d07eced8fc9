"""README and docs show the targets of the results that are kept, and say when one is missed."""

import json
from pathlib import Path

import pytest

from benchmarks.summary import BEGIN, CLAIMS, END, renewed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", CLAIMS, ids=str)
def test_pages_have_the_targets_of_the_results_that_are_kept(page):
    text = (ROOT / page).read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert renewed(text, ROOT / "benchmarks" / "results", CLAIMS[page]) == text


def test_only_claims_that_begin_so_are_shown(tmp_path):
    targets = [{"claim": claim, "measured": 3, "bound": 2, "at_least": True} for claim in ("calls", "bytes")]
    run = {"command": "first", "began": "a", "cores": 2, "load_before": 0.25}
    (tmp_path / "a.json").write_text(json.dumps({"run": run, "targets": targets}))
    written = renewed(f"{BEGIN}{END}", tmp_path, ("byt",))
    assert "| bytes | 3 |" in written
    assert "calls" not in written


def test_missed_targets_are_marked_and_commands_are_named(tmp_path):
    targets = [
        {"claim": "calls", "measured": 3, "bound": 2, "at_least": True},
        {"claim": "ms", "measured": 3, "bound": 2, "at_least": False},
    ]
    for name, command in (("a", "first"), ("b", "second")):
        run = {"command": command, "began": name, "cores": 2, "load_before": 0.25}
        (tmp_path / f"{name}.json").write_text(json.dumps({"run": run, "targets": targets}))
    written = renewed(f"before\n{BEGIN}old\n{END}after\n", tmp_path)
    assert written.startswith(f"before\n{BEGIN}By `first`, `second` on 2 cores, under a load of 0.25 at its start:\n")
    assert written.endswith(f"| ms | 3 | at most 2, **missed** |\n{END}after\n")
    assert "| calls | 3 | at least 2 |\n" in written
    assert "old" not in written
