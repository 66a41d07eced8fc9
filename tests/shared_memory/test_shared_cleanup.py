"""Nothing is left of shared memory once its client is closed, has ended or was killed."""

import signal
import subprocess
import sys

import pytest

from tests.shared_memory.segments import DEADLINE, held, request, wait_until
from tests.support.scenes import RAW, candidates, raw_candidates, scene
from worldforge_jepa_client.shm import segments as shm_segments
from worldforge_jepa_client.shm.segments import FOLDER, Segments


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(shm_segments, "SMALLEST", 1)


def test_closing_the_client_removes_its_segments(sharing):
    with sharing.session(**scene(), **RAW) as session:
        session.score(candidates())
        sharing.score(**scene(), **raw_candidates())
        assert held()
        sharing.close()
    wait_until(lambda: not held())


def test_a_segment_answered_after_the_client_was_closed_is_removed():
    segments = Segments()
    with segments.sharing(request(candidates())):
        segments.close()
        assert held()
    assert not held()


def other_process(code):
    """Run code in a process that prints the names of its segments; return its exit code and their paths."""
    before = """
import os, signal, sys
from tests.support.scenes import candidates, raw_candidates, scene
from tests.shared_memory.segments import held, request
from worldforge_jepa_client import Client
from worldforge_jepa_client.shm import segments
segments.SMALLEST = 1
"""
    command = [sys.executable, "-c", before + code]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=DEADLINE, check=False)
    assert done.stdout.split()
    return done.returncode, [FOLDER / name for name in done.stdout.split()]


SCORE = """
client = Client({target!r}, timeout=60, shared_memory=True)
client.score(**scene(), **raw_candidates())
print(*held(), flush=True)
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
FORK = """
segment = segments.Segments().share(request(candidates()))
child = os.fork() or sys.exit()
os.waitpid(child, 0)
print(*held())
"""


def test_a_process_that_ends_removes_its_segments(sharing_server):
    returned, segments = other_process(SCORE.format(target=sharing_server.target))
    assert returned == 0
    assert not any(path.exists() for path in segments)


def test_the_next_client_removes_the_segments_of_one_that_was_killed(sharing_server, sharing):
    sharing.score(**scene(), **raw_candidates())
    mine = held()
    returned, segments = other_process(SCORE.format(target=sharing_server.target) + KILL)
    assert returned == -signal.SIGKILL
    assert all(path.exists() for path in segments)
    Segments()
    assert not any(path.exists() for path in segments)
    assert held() == mine


def test_a_fork_leaves_its_parents_segments():
    returned, segments = other_process(FORK)
    assert (returned, len(segments)) == (0, 1)
    assert not segments[0].exists()
