"""The path of a score through the server is short, and stays so.

Counting rule: one unary Score, alone, its scene in the encoder's cache. A function of the server's counts if it is given
or returns the call, its job, a slice of it, its result or its scores, on the host or on the device; `self` is given, and
so is what a list, a tuple or a dictionary holds. A comprehension is part of its function. The served model's own functions
do not count, nor the codec that client and server share: its `score_call`, `score_response` and `encode_floats` come on top.
"""

import sys
import threading

import grpc
import numpy as np
import pytest
import torch

from benchmarks.trivial import Trivial
from tests.support.in_process import DEADLINE, running
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import ScoreCall, ScoreResult
from worldforge_jepa_client.inputs.build import build_scene, build_score_call
from worldforge_jepa_server.device.batching import ScoreJob
from worldforge_jepa_server.rpc.servicer import SERVICE_NAME
from worldforge_jepa_server.scheduling.scheduler import Slice

MOST_ON_THE_PATH = 14
MOST_OF_ALL = 80  # 77, and what runs now and then: functions of the server, its cache, fair queue, access, counts, log and traces included
COMPREHENSIONS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>")
SHAPES = (ScoreCall, ScoreJob, Slice, ScoreResult)
SAMPLES = 7  # of no other array's length


def is_score(value, depth=2):
    """Whether a value is one of the shapes that a score has, is its scores, or holds one."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return tuple(value.shape) == (SAMPLES,)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)) and depth:
        return any(is_score(each, depth - 1) for each in value)
    return isinstance(value, SHAPES)


@pytest.fixture
def called():
    """The functions of ours that are called, and whether on a score; on threads that start from now on too."""
    found = {}

    def note(frame, event, returned):
        code = frame.f_code
        ours = "worldforge_jepa_server" in code.co_filename and "/models/" not in code.co_filename
        if not ours or code.co_name in COMPREHENSIONS or event not in ("call", "return"):
            return
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        seen = [frame.f_locals.get(name) for name in arguments] if event == "call" else [returned]
        key = (code.co_filename.rpartition("worldforge_jepa_server/")[2], code.co_firstlineno, code.co_name)
        found[key] = found.get(key, False) or any(map(is_score, seen))

    threading.setprofile(note)
    sys.setprofile(note)
    yield found
    threading.setprofile(None)
    sys.setprofile(None)


async def test_one_unary_score_calls_few_functions(called):
    frame, candidates = np.zeros((1, 1, 3, 8, 8), np.uint8), np.zeros((1, SAMPLES, 2, 10), np.float32)
    request = wire.score_request(build_score_call(build_scene(frame, frame), candidates)).SerializeToString()
    async with running(models={"trivial": Trivial()}) as server, grpc.aio.insecure_channel(server.target) as channel:
        score = channel.unary_unary(f"/{SERVICE_NAME}/Score")  # of bytes: no function of the client's runs
        await score(request, timeout=DEADLINE)
        called.clear()
        await score(request, timeout=DEADLINE)
        functions = dict(called)
    on_the_path = sorted(key for key, on_a_score in functions.items() if on_a_score)
    assert len(on_the_path) <= MOST_ON_THE_PATH, on_the_path
    assert len(functions) <= MOST_OF_ALL, sorted(functions)
