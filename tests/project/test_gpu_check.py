"""`make gpu-check` on a machine without CUDA says so in a line and fails."""

import pytest
import torch

from benchmarks.models import gpu


def test_without_cuda_nothing_is_claimed(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu.subprocess, "run", pytest.fail)
    assert gpu.main() == 1
    assert capsys.readouterr().err == "gpu-check: torch finds no CUDA device here; nothing was tested or measured\n"
