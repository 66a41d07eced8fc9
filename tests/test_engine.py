"""The device's queue: one piece of work at a time, bounded, and nothing computed that nobody waits for."""

import asyncio
import threading

import pytest

from worldforge_jepa_client.errors import ResourceExhaustedError
from worldforge_jepa_server.engine import Engine

DEADLINE = 10


@pytest.fixture
def engine():
    engine = Engine(queue_size=3, on_start=lambda: None)
    yield engine
    engine.close()


class Gate:
    """Work that says when it began and ends when it is let."""

    def __init__(self):
        self.began, self.open = threading.Event(), threading.Event()

    def __call__(self, abandoned):
        self.began.set()
        assert self.open.wait(DEADLINE)
        return "done"

    async def wait_began(self):
        assert await asyncio.to_thread(self.began.wait, DEADLINE)


async def test_results_and_waiting_times_come_back(engine):
    result, waited = await engine.run(lambda abandoned: 42)
    assert result == 42
    assert 0 <= waited < DEADLINE


async def test_exceptions_come_back_and_the_next_work_runs(engine):
    with pytest.raises(ZeroDivisionError):
        await engine.run(lambda abandoned: 1 / 0)
    assert (await engine.run(lambda abandoned: 42))[0] == 42


async def test_all_work_runs_in_one_thread_that_was_set_up_first():
    names = []
    engine = Engine(queue_size=8, on_start=lambda: names.append(threading.current_thread().name))
    await asyncio.gather(*(engine.run(lambda _: names.append(threading.current_thread().name)) for _ in range(4)))
    engine.close()
    assert len(names) == 5
    assert len(set(names)) == 1
    assert threading.current_thread().name not in names


async def test_work_runs_in_the_order_of_arrival(engine):
    gate, order = Gate(), []
    first = asyncio.create_task(engine.run(gate))
    await gate.wait_began()
    rest = [asyncio.create_task(engine.run(lambda _, n=n: order.append(n))) for n in range(2)]
    gate.open.set()
    await asyncio.wait_for(asyncio.gather(first, *rest), DEADLINE)
    assert order == [0, 1]


async def test_a_full_queue_refuses_with_a_delay_and_recovers(engine):
    gate = Gate()
    tasks = [asyncio.create_task(engine.run(gate)) for _ in range(3)]
    await gate.wait_began()
    with pytest.raises(ResourceExhaustedError) as caught:
        await engine.run(gate)
    assert caught.value.reason == "QUEUE_FULL"
    assert caught.value.retry_after > 0
    gate.open.set()
    assert [result for result, _ in await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE)] == ["done"] * 3
    assert (await engine.run(gate))[0] == "done"


async def test_cancelled_work_that_waits_never_runs(engine):
    gate, ran = Gate(), []
    first = asyncio.create_task(engine.run(gate))
    await gate.wait_began()
    waiting = asyncio.create_task(engine.run(lambda _: ran.append(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    await asyncio.wait_for(first, DEADLINE)
    await engine.run(lambda _: None)
    assert ran == []


async def test_cancelled_work_that_runs_is_told(engine):
    began, told = threading.Event(), threading.Event()

    def work(abandoned):
        began.set()
        assert abandoned.wait(DEADLINE)
        told.set()

    task = asyncio.create_task(engine.run(work))
    assert await asyncio.to_thread(began.wait, DEADLINE)
    task.cancel()
    assert await asyncio.to_thread(told.wait, DEADLINE)
