"""The README shows the targets of the results that are kept, and says when one is missed."""

import json
from pathlib import Path

from benchmarks.summary import BEGIN, END, renewed

ROOT = Path(__file__).parents[2]


def test_the_readme_has_the_targets_of_the_results_that_are_kept():
    readme = (ROOT / "README.md").read_text()
    assert readme.count(BEGIN) == readme.count(END) == 1
    assert renewed(readme, ROOT / "benchmarks" / "results") == readme


def test_missed_targets_are_marked_and_commands_are_named(tmp_path):
    targets = [
        {"claim": "calls", "measured": 3, "bound": 2, "at_least": True},
        {"claim": "ms", "measured": 3, "bound": 2, "at_least": False},
    ]
    for name, command in (("a", "first"), ("b", "second")):
        run = {"command": command, "began": name, "cores": 2, "load_before": 0.25}
        (tmp_path / f"{name}.json").write_text(json.dumps({"run": run, "targets": targets}))
    written = renewed(f"before\n{BEGIN}old\n{END}after\n", tmp_path)
    assert written.startswith(
        f"before\n{BEGIN}By `first` and `second` on 2 cores, under a load of 0.25 at its start:\n"
    )
    assert written.endswith(f"| ms | 3 | at most 2, **missed** |\n{END}after\n")
    assert "| calls | 3 | at least 2 |\n" in written
    assert "old" not in written
