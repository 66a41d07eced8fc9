"""The path of a score through the server is short, and stays so."""

import sys
import threading

import numpy as np
import pytest

from benchmarks.trivial import Trivial
from tests.in_process import DEADLINE, running
from worldforge_jepa_client import AsyncClient

MOST = 72  # functions of the server's own, cache and fair queue included; 79 before the runner took plain jobs, 57 before each message was bounded


@pytest.fixture
def called():
    """The server's functions that have been called, without the models' own; on threads that start from now on too."""
    found = set()

    def note(frame, event, _):
        code = frame.f_code
        if event == "call" and "worldforge_jepa_server" in code.co_filename and "/models/" not in code.co_filename:
            found.add((code.co_filename, code.co_firstlineno, code.co_name))

    threading.setprofile(note)
    sys.setprofile(note)
    yield found
    threading.setprofile(None)
    sys.setprofile(None)


async def test_one_unary_score_calls_few_functions(called):
    frame, candidates = np.zeros((1, 1, 3, 8, 8), np.uint8), np.zeros((1, 4, 2, 10), np.float32)
    async with running(models={"trivial": Trivial()}) as server, AsyncClient(server.target, timeout=DEADLINE) as client:
        await client.model()
        await client.score(observation=frame, goal=frame, action_candidates=candidates)
        called.clear()
        await client.score(observation=frame, goal=frame, action_candidates=candidates)
        functions = {each for each in called if not each[2].startswith("<")}
    assert len(functions) <= MOST, sorted(functions)
