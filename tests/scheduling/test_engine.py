"""The engine: waiting jobs run in batches and in turns; the queue is bounded; cancelled jobs do not run."""

import asyncio
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scheduling.jobs import CHUNK, DEADLINE, Gate, Rows
from worldforge_jepa_client.errors import ResourceExhaustedError
from worldforge_jepa_server.scheduling.engine import LEAST_COST, Caller, Engine, FunctionJob


@pytest.fixture
def engine():
    engine = Engine(capacity=3 * LEAST_COST)
    yield engine
    engine.close()


async def test_run_returns_the_result_and_the_wait(engine):
    result, waited = await engine.run(FunctionJob(lambda cancelled: 42))
    assert result == 42
    assert 0 <= waited < DEADLINE


async def test_an_exception_comes_back_and_the_next_job_runs(engine):
    with pytest.raises(ZeroDivisionError):
        await engine.run(FunctionJob(lambda cancelled: 1 / 0))
    assert (await engine.run(FunctionJob(lambda cancelled: 42)))[0] == 42


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt])
async def test_an_exception_that_would_end_the_loop_comes_back_as_a_runtime_error(engine, error):
    def work(_):
        raise error

    with pytest.raises(RuntimeError, match=error.__name__):
        await asyncio.wait_for(engine.run(FunctionJob(work)), DEADLINE)
    assert (await engine.run(FunctionJob(lambda _: 42)))[0] == 42


async def test_all_jobs_run_on_one_thread_of_their_own(engine):
    names = []
    notes = [FunctionJob(lambda _: names.append(threading.current_thread().name)) for _ in range(4)]
    await asyncio.gather(*map(engine.run, notes))
    assert len(names) == 4
    assert len(set(names)) == 1
    assert threading.current_thread().name not in names


async def test_waiting_jobs_run_as_one_batch(engine):
    gate = Gate()
    first = asyncio.create_task(engine.run(FunctionJob(gate)))
    await gate.wait_began()
    jobs = [Rows(1), Rows(2), Rows(1), Rows(1, batch=None)]
    rest = [asyncio.create_task(engine.run(job, caller=Caller(client))) for client, job in enumerate(jobs)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.wait_for(asyncio.gather(first, *rest), DEADLINE)
    assert [job.company for job in jobs] == [[3], [3], [3], [1]]


async def test_a_large_job_runs_in_slices_and_returns_one_result(engine):
    job = Rows(10)
    assert (await engine.run(job))[0] == sum(range(10))
    assert job.ran == list(range(10))
    assert len(job.company) == 3


async def test_a_failing_slice_ends_its_job_and_no_other(engine):
    gate, broken, good = Gate(), Rows(10, fails_at=5), Rows(2)
    first = asyncio.create_task(engine.run(FunctionJob(gate)))
    await gate.wait_began()
    rest = [asyncio.create_task(engine.run(job)) for job in (broken, good)]
    await asyncio.sleep(0)
    gate.open.set()
    with pytest.raises(ZeroDivisionError):
        await rest[0]
    assert (await rest[1])[0] == 1
    await first
    assert broken.ran == list(range(8))
    assert engine.pending == 0


async def test_the_wait_of_a_job_excludes_its_own_slices(engine):
    gate = Gate()
    first = asyncio.create_task(engine.run(FunctionJob(gate)))
    await gate.wait_began()
    second = asyncio.create_task(engine.run(FunctionJob(lambda _: None)))
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(0.3)  # far longer than a busy machine takes to start what is first
    gate.open.set()
    (_, of_first), (_, of_second) = await asyncio.gather(first, second)
    assert of_second >= 0.29 > of_first
    assert of_second <= asyncio.get_running_loop().time() - began


async def test_a_full_queue_refuses_with_a_delay_and_recovers(engine):
    with engine.admit(2 * LEAST_COST):
        with engine.admit(1):  # counts as the least
            with pytest.raises(ResourceExhaustedError) as caught, engine.admit(1):
                pass
            assert caught.value.reason == "QUEUE_FULL"
            assert caught.value.retry_after > 0
        with engine.admit(LEAST_COST):
            pass


async def test_the_retry_delay_grows_with_the_excess(engine):
    def delay(cost):
        with pytest.raises(ResourceExhaustedError) as caught, engine.admit(cost):
            pass
        return caught.value.retry_after

    slow = FunctionJob(lambda _: threading.Event().wait(0.02), cost=10)
    await engine.run(slow)
    with engine.admit(3 * LEAST_COST):
        assert delay(2 * LEAST_COST) == pytest.approx(2 * delay(LEAST_COST))


async def test_an_idle_engine_admits_any_call(engine):
    with engine.admit(100 * LEAST_COST):
        pass


async def test_a_waiting_job_that_is_cancelled_never_runs(engine):
    gate, ran = Gate(), []
    first = asyncio.create_task(engine.run(FunctionJob(gate)))
    await gate.wait_began()
    waiting = asyncio.create_task(engine.run(FunctionJob(lambda _: ran.append(1))))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    await asyncio.wait_for(first, DEADLINE)
    await engine.run(FunctionJob(lambda _: None))
    assert ran == []


async def test_a_running_job_that_is_cancelled_sees_its_token_set(engine):
    gate, tokens = Gate(), []

    def work(cancelled):
        tokens.append(cancelled)
        gate(cancelled)

    task = asyncio.create_task(engine.run(FunctionJob(work)))
    await gate.wait_began()
    assert not tokens[0].is_set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tokens[0].is_set()
    gate.open.set()


async def test_closing_cancels_waiting_jobs():
    engine, gate = Engine(LEAST_COST), Gate()
    running = asyncio.create_task(engine.run(FunctionJob(gate)))
    await gate.wait_began()
    waiting = asyncio.create_task(engine.run(Rows(1)))
    await asyncio.sleep(0)
    gate.open.set()
    engine.close()
    assert (await running)[0] == "done"
    with pytest.raises(asyncio.CancelledError):
        await waiting


Job = st.fixed_dictionaries(
    {
        "size": st.integers(1, 3 * CHUNK),
        "batch": st.sampled_from([None, "p", "q"]),
        "fails_at": st.none() | st.integers(0, CHUNK),
        "client": st.integers(0, 2),
        "queue": st.sampled_from(["a", "b"]),
        "cancelled": st.booleans(),
    }
)


@settings(max_examples=60)
@given(st.lists(Job, min_size=1, max_size=12))
def test_every_future_is_resolved_exactly_once_and_cancelled_jobs_never_run(described):
    outcomes = Counter()

    async def one(engine, job, told):
        try:
            result, _ = await engine.run(job, told["queue"], Caller(told["client"]))
            assert result == sum(range(job.size))
            outcomes["done"] += 1
        except ZeroDivisionError:
            assert job.fails_at in job.ran
            outcomes["failed"] += 1

    async def all_of_them():
        engine, gate = Engine(1), Gate()
        first = asyncio.create_task(engine.run(FunctionJob(gate)))
        await gate.wait_began()
        jobs = [Rows(told["size"], told["batch"], told["fails_at"]) for told in described]
        tasks = [asyncio.create_task(one(engine, *pair)) for pair in zip(jobs, described, strict=True)]
        await asyncio.sleep(0)
        for task, told in zip(tasks, described, strict=True):
            if told["cancelled"]:
                task.cancel()
        await asyncio.sleep(0)
        gate.open.set()
        ends = await asyncio.wait_for(asyncio.gather(first, *tasks, return_exceptions=True), DEADLINE)
        engine.close()
        for job, told, end in zip(jobs, described, ends[1:], strict=True):
            assert isinstance(end, asyncio.CancelledError) == told["cancelled"]
            assert job.ran == ([] if told["cancelled"] else list(range(len(job.ran))))
        assert engine.pending == 0
        assert outcomes.total() == sum(not told["cancelled"] for told in described)

    asyncio.run(all_of_them())
