"""Several devices: each has every model, a call goes to the idlest, a stream stays where it began, a context is found."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.operation.test_metrics import metrics_url, read
from tests.support.in_process import DEADLINE, CountingModel, Stop
from tests.support.raw_stub import RAW, a_scene
from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.contract.types import ScoreCall
from worldforge_jepa_client.errors import NotFoundError
from worldforge_jepa_server.config import ModelSource, ServerConfig
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.runtime.replicas import Replicas
from worldforge_jepa_server.scheduling.engine import Caller, Engine

CALL = ScoreCall(a_scene(), candidates(), options=RAW)
CALLER = Caller()
MEETING = "meeting=python:tests.support.python_models:Meeting"
ACTIONS = {"observation": np.zeros((3, 4, 4), np.uint8), "goal": np.zeros((3, 4, 4), np.uint8)}


@contextlib.contextmanager
def two_devices():
    config = ServerConfig(model=(ModelSource("tiny", "tiny"),))
    runtimes = [Runtime(Engine(config.queue_size), config) for _ in range(2)]
    for runtime in runtimes:
        model = CountingModel()
        runtime.models.put(model, model.spec.memory)
    try:
        yield Replicas(runtimes)
    finally:
        for runtime in runtimes:
            runtime.engine.close()


@contextlib.asynccontextmanager
async def busy(runtime):
    """Keep a runtime's device busy."""
    stop = Stop(runtime.models.find("tiny").model)
    running = asyncio.create_task(runtime.score(CALL, CALLER))
    await stop.reached()
    try:
        yield
    finally:
        stop.go_on()
        await asyncio.wait_for(running, DEADLINE)


async def test_a_call_goes_to_the_idlest_device_and_of_equal_ones_to_the_first():
    with two_devices() as replicas:
        first, second = replicas
        assert replicas.of(CALL.scene) is first
        async with busy(first):
            assert replicas.of(CALL.scene) is second
            scored = await second.score(CALL, CALLER)
        assert replicas.of(CALL.scene) is first
        np.testing.assert_array_equal(scored.scores, (await first.score(CALL, CALLER)).scores)
        assert replicas.pending == 0


async def test_a_context_is_scored_and_deleted_where_it_is_kept():
    with two_devices() as replicas:
        first, second = replicas
        async with busy(first):
            context = await replicas.idlest.create_context(CALL.scene, "", CALLER)
        assert replicas.of(context.id) is second
        await replicas.of(context.id).score(replace(CALL, scene=context.id), CALLER)
        assert (first.statistics().contexts, replicas.statistics().contexts) == (0, 1)
        replicas.of(context.id).delete_context(context.id)
        with pytest.raises(NotFoundError, match="is unknown"):
            replicas.of(context.id).delete_context(context.id)


def test_streams_are_spread_and_stay_where_they_began():
    with two_devices() as replicas, contextlib.ExitStack() as stack:
        first, second = replicas
        assert stack.enter_context(replicas.stream()) is first
        with replicas.stream() as other:
            assert other is second
        assert [stack.enter_context(replicas.stream()) for _ in range(3)] == [second, first, second]


@pytest.fixture(scope="module")
def server(start_server):
    flags = ("--device=cpu,cpu", "--threads=1", "--metrics-address=127.0.0.1:0")
    return start_server(*flags, "--model=tiny", f"--model={MEETING}")


def test_two_calls_run_at_once(server):
    with Client(server.target, timeout=DEADLINE) as client, ThreadPoolExecutor(2) as threads:
        call = dict(ACTIONS, action_candidates=np.zeros((3, 2, 2), np.float32), model="meeting")
        assert [len(each.result().scores) for each in [threads.submit(client.score, **call) for _ in range(2)]] == [
            3,
            3,
        ]


def test_two_sessions_score_at_once(server):
    with Client(server.target, timeout=DEADLINE) as client, contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(client.session(**ACTIONS, model="meeting")) for _ in range(2)]
        pending = [session.submit(np.zeros((3, 2, 2), np.float32)) for session in sessions]
        assert [len(each.result().scores) for each in pending] == [3, 3]


def test_a_model_names_all_its_devices_and_a_score_the_one_it_is_of(server):
    with Client(server.target, timeout=DEADLINE) as client:
        assert client.model("tiny").device == "cpu,cpu"
        result = client.score(**scene(), **raw_candidates(4), model="tiny")
        assert result.metadata["device"] == "cpu"


def test_the_metrics_name_each_model_once_where_two_threads_share_a_device(server):
    found = [line for line in read(metrics_url(server)).splitlines() if line.startswith("worldforge_jepa_model_info{")]
    assert len(found) == len(set(found)) == 2
