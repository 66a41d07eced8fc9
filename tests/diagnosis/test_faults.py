"""A few faults in the logs, each named by the command; `make diagnose-faults` injects the whole table."""

import json

import numpy as np
import pytest

from tests.diagnosis.faults import FAULTS
from worldforge_jepa_client.tools.cli import main

QUICK = ("bgr", "in 0..1", "y sign", "proprio in 0..1")
CALLS_TO_A_VERDICT = 200
FEW = ("--windows", "16", "--samples", "8", "--horizon", "2", "--max-calls", f"{CALLS_TO_A_VERDICT}")


@pytest.mark.parametrize("name", QUICK)
def test_the_command_names_a_fault_in_the_logs(diagnosed, episodes, name, tmp_path, capsys):
    fault = FAULTS[name]
    for index, episode in enumerate(episodes):
        np.savez(tmp_path / f"episode_{index:03}.npz", **fault.change(episode))
    found = tmp_path / "found.json"
    source = ["--target", diagnosed, "--episodes", f"npz:{tmp_path}", "--json", f"{found}"]
    flags = ["--actions-are-normalized"] if fault.actions_are_normalized else []
    assert main(["diagnose", *source, *FEW, *flags]) == 2
    assert capsys.readouterr().out.splitlines()[0] == f"inputs look wrong: {fault.name}"
    figures = json.loads(found.read_text())
    assert figures["hypothesis"] == fault.name
    assert figures["remedy"]
