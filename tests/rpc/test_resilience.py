"""Failures around a call: dead servers, restarts, deadlines, cancellation, overload, servers still loading."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import AsyncMock, Mock

import grpc
import numpy as np
import pytest

from tests.support.scenes import LONG, LONG_LOG, raw_candidates, scene
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.errors import DeadlineExceededError, ResourceExhaustedError, UnavailableError
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.rpc.intake import Intake
from worldforge_jepa_server.rpc.servicer import WorldModelServicer, generic_handler
from worldforge_jepa_server.runtime.operations import Runtime
from worldforge_jepa_server.runtime.replicas import Replicas
from worldforge_jepa_server.scheduling.engine import Engine

DEADLINE = 60


def test_no_server_is_an_error_at_once_that_names_the_target():
    with Client("127.0.0.1:1", timeout=DEADLINE) as client:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
            client.model()
        assert time.monotonic() - began < 5


def test_a_server_killed_in_mid_call_is_an_error_at_once_and_a_restart_serves_again_within_a_second(start_server):
    first = start_server("--log-level", "debug")
    with Client(first.target, timeout=DEADLINE) as client, ThreadPoolExecutor(1) as pool:
        before = client.score(**scene(), **raw_candidates())
        doomed = pool.submit(client.score, **scene(), **raw_candidates(**LONG))
        first.wait_logged(LONG_LOG)
        first.kill()
        with pytest.raises(UnavailableError, match=first.target):
            doomed.result(timeout=5)
        start_server(listen=first.target)
        began = time.monotonic()
        client.wait_ready(timeout=DEADLINE)
        assert time.monotonic() - began < 1
        np.testing.assert_array_equal(client.score(**scene(), **raw_candidates()).scores, before.scores)


def test_a_deadline_ends_the_call_and_frees_the_device(start_server):
    server = start_server()
    with Client(server.target, timeout=DEADLINE) as client:
        client.model()
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            client.score(**scene(), **raw_candidates(**LONG), timeout=1.0)
        client.score(**scene(), **raw_candidates())
        assert time.monotonic() - began < 10


async def test_a_cancelled_call_frees_the_device(start_server):
    server = start_server("--log-level", "debug")
    async with AsyncClient(server.target, timeout=DEADLINE) as client:
        doomed = asyncio.create_task(client.score(**scene(), **raw_candidates(**LONG)))
        await asyncio.to_thread(server.wait_logged, LONG_LOG)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        began = time.monotonic()
        await client.score(**scene(), **raw_candidates())
        assert time.monotonic() - began < 10


async def test_overload_is_refused_with_a_delay_and_the_accepted_calls_finish(start_server):
    server = start_server("--queue-size", "6000")  # two of these calls
    async with AsyncClient(server.target, timeout=DEADLINE) as client:
        await client.model()
        calls = [client.score(**scene(), **raw_candidates(samples=500, horizon=6)) for _ in range(6)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    refused = [result for result in results if isinstance(result, ResourceExhaustedError)]
    scored = [result for result in results if not isinstance(result, BaseException)]
    assert len(refused) + len(scored) == 6
    assert len(scored) >= 2
    assert refused
    assert all(error.reason == "QUEUE_FULL" and error.retry_after > 0 for error in refused)


async def test_until_the_models_are_loaded_calls_are_unavailable_and_wait_ready_waits():
    engine = Engine(4)
    runtime = Runtime(engine, ServerConfig())
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((generic_handler(WorldModelServicer(Replicas([runtime]), Intake(1), DEADLINE)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with AsyncClient(f"127.0.0.1:{port}", timeout=DEADLINE) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.model()
        assert (caught.value.reason, caught.value.retry_after) == ("MODEL_LOADING", 1.0)
        waiting = asyncio.create_task(client.wait_ready(DEADLINE))
        await asyncio.sleep(0)
        assert not waiting.done()
        runtime.models.put(tiny.load("cpu", "tiny"), None)
        await asyncio.wait_for(waiting, DEADLINE)
        assert (await client.model()).name == "tiny"
    await server.stop(None)
    engine.close()


async def test_wait_ready_says_why_there_was_no_answer_rather_than_that_the_last_try_was_short(monkeypatch):
    with Client("127.0.0.1:1", timeout=DEADLINE) as client:
        refused, late = UnavailableError("refused"), DeadlineExceededError("late")
        monkeypatch.setattr(client, "_run", Mock(side_effect=[refused, late]))
        with pytest.raises(UnavailableError, match="refused"):
            client.wait_ready(DEADLINE)
    async with AsyncClient("127.0.0.1:1", timeout=DEADLINE) as client:
        monkeypatch.setattr(client, "_run", AsyncMock(side_effect=[refused, late]))
        with pytest.raises(UnavailableError, match="refused"):
            await client.wait_ready(DEADLINE)


def test_wait_ready_gives_up_at_its_deadline():
    with Client("127.0.0.1:1") as client, pytest.raises(UnavailableError):
        client.wait_ready(timeout=0.2)
