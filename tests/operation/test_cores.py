"""The default number of threads is what this process may use, and their spinning is bounded."""

import os
import subprocess
import sys

import pytest

from worldforge_jepa_server.app.cores import openmp_environment, usable_cores

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, CORES),
        ({"cpu.max": "max 100000\n"}, CORES),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, CORES),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_thread_count_follows_affinity_and_cgroup_quota(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == expected
    assert openmp_environment(tmp_path)["OMP_NUM_THREADS"] == str(expected)


def test_training_benchmarks_and_tests_bound_the_spinning_before_torch_is_imported():
    code = "import os, sys, benchmarks, examples.two_room; print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    spins = openmp_environment()["GOMP_SPINCOUNT"]
    without = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    for own, expected in (({}, spins), ({"GOMP_SPINCOUNT": "7"}, "7")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=without | own, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == ["False", expected]
    assert "GOMP_SPINCOUNT" in os.environ
