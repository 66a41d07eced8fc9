"""The laws of the scheduler: each candidate once and in order, no starvation, equal shares by cost."""

from collections import defaultdict
from itertools import islice

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from worldforge_jepa_server.scheduling.scheduler import Scheduler, Task

CHUNK = 8
QUEUES, CLIENTS, FLOWS, BATCHES = ("a", "b"), ("c", "d"), ("p", "q", "r"), (None, 2, 3)


def task(size=1, *, cost=1, queue="a", client="c", flow="p", **fields):
    return Task(size=size, cost_per_candidate=cost, queue=queue, client=client, flow=flow, chunk=CHUNK, **fields)


def line_of(each):
    return each.queue, each.client, each.flow


def take_all(scheduler):
    return list(iter(scheduler.take, []))


def served(scheduler, takes, by="flow"):
    """Return the share of each flow, or client, of the next batches, in cost."""
    costs = defaultdict(int)
    for part in (part for _ in range(takes) for part in scheduler.take()):
        costs[getattr(part.task, by)] += part.task.cost_per_candidate * (part.stop - part.start)
    return costs


class AnyUse(RuleBasedStateMachine):
    """Any order of arrivals, cancellations and free devices."""

    def __init__(self):
        super().__init__()
        self.scheduler = Scheduler()
        self.waiting = []
        self.given = defaultdict(int)

    @rule(
        size=st.integers(1, 3 * CHUNK),
        queue=st.sampled_from(QUEUES),
        client=st.sampled_from(CLIENTS),
        flow=st.sampled_from(FLOWS),
        cost=st.integers(1, 4),
        deadline=st.sampled_from([1.0, 2.0, float("inf")]),
        batch=st.sampled_from(BATCHES),
    )
    def add(self, size, **fields):
        self.waiting.append(task(size, **fields))
        self.scheduler.add(self.waiting[-1])

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def discard(self, data):
        gone = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(gone)
        self.scheduler.discard(gone)

    @rule(seconds=st.floats(0, 10))
    def take(self, seconds):
        batch = self.scheduler.take()
        assert bool(batch) == bool(self.waiting)
        assert len({part.task.queue for part in batch}) <= 1
        if len(batch) > 1:
            assert len({part.task.batch for part in batch}) == 1
            assert batch[0].task.batch is not None
        assert sum(part.stop - part.start for part in batch) <= CHUNK
        for part in batch:
            self.check_slice(part)
        if batch:
            self.scheduler.charge(batch[0].task.queue, seconds)

    def check_slice(self, part):
        line = [each for each in self.waiting if line_of(each) == line_of(part.task)]
        assert min(line, key=lambda each: each.deadline) is part.task  # the first that came, of equal deadlines
        assert part.start == self.given[part.task]  # nothing twice, nothing left out
        assert part.start < part.stop <= part.task.size
        self.given[part.task] = part.stop
        if part.last:
            self.waiting.remove(part.task)

    def teardown(self):
        for batch in take_all(self.scheduler):
            for part in batch:
                self.check_slice(part)
        assert not self.waiting
        assert not self.scheduler.take()


TestAnyUse = AnyUse.TestCase
TestAnyUse.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(st.integers(1, CHUNK), st.integers(1, 9)), min_size=40, max_size=40), st.integers(2, 4))
def test_flows_that_always_have_work_get_equal_shares_by_cost(kinds, flows):
    scheduler = Scheduler()
    for flow in range(flows):
        for size, cost in kinds[flow:] + kinds[:flow]:
            scheduler.add(task(size, flow=flow, cost=cost))
    largest = max(size * cost for size, cost in kinds)
    costs = served(scheduler, takes=len(kinds))
    assert max(costs.values()) - min(costs[flow] for flow in range(flows)) <= 2 * largest


@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(BATCHES))
def test_clients_get_equal_shares_whatever_the_number_of_their_flows(some, others, batch):
    scheduler = Scheduler()
    for client, flows in (("c", some), ("d", others)):
        for flow in range(flows):
            for _ in range(40 // flows + 1):
                scheduler.add(task(CHUNK, client=client, flow=flow, batch=batch))
    costs = served(scheduler, takes=40, by="client")
    assert abs(costs["c"] - costs["d"]) <= CHUNK


@given(st.integers(1, 50), st.integers(0, 60), st.sampled_from(BATCHES))
def test_a_new_client_waits_for_one_batch_of_a_client_with_many_flows(flows, before, batch):
    scheduler = Scheduler()
    for flow in range(flows):
        for _ in range(3):
            scheduler.add(task(CHUNK, flow=flow, batch=batch))
    for _ in range(before):
        scheduler.take()
    newcomer = task(1, client="d", batch=3)
    scheduler.add(newcomer)
    assert newcomer in [part.task for _ in range(2) for part in scheduler.take()]


@given(st.data())
def test_a_new_flow_waits_for_at_most_one_slice_of_each_other_flow(data):
    scheduler = Scheduler()
    others = data.draw(st.integers(1, 6))
    for flow in range(others):
        for _ in range(3):
            batch = data.draw(st.sampled_from(BATCHES))
            scheduler.add(
                task(data.draw(st.integers(1, 200)), flow=flow, cost=data.draw(st.integers(1, 9)), batch=batch)
            )
    for _ in range(data.draw(st.integers(0, 20))):
        scheduler.take()
    newcomer = task(1, flow="newcomer")
    scheduler.add(newcomer)
    soon = [part.task for _ in range(others + 1) for part in scheduler.take()]
    assert newcomer in soon


def test_an_idle_flow_gains_no_credit_and_keeps_its_debt():
    scheduler = Scheduler()
    for _ in range(20):
        scheduler.add(task(CHUNK, flow="busy"))
    for _ in range(10):
        scheduler.take()
    for _ in range(10):
        scheduler.add(task(CHUNK, flow="back"))
    assert abs(served(scheduler, 8)["back"] - 4 * CHUNK) <= CHUNK
    scheduler = Scheduler()
    scheduler.add(task(CHUNK, flow="large"))
    scheduler.add(task(1, flow="small"))
    assert [part.task.flow for part in scheduler.take()] == ["large"]
    scheduler.add(task(CHUNK, flow="large"))
    assert [part.task.flow for part in scheduler.take()] == ["small"]


@given(st.integers(1, 5), st.floats(0.1, 10), st.floats(0.1, 10))
def test_models_share_device_time(count, slow, fast):
    scheduler, seconds = Scheduler(), {"a": slow, "b": fast}
    used = dict.fromkeys(seconds, 0.0)
    for queue in seconds:
        for _ in range(200):
            scheduler.add(task(count, queue=queue))
    for _ in range(60):
        (part,) = scheduler.take()
        used[part.task.queue] += seconds[part.task.queue]
        scheduler.charge(part.task.queue, seconds[part.task.queue])
        assert abs(used["a"] - used["b"]) <= slow + fast


def test_a_huge_task_is_cut_and_others_run_between_its_slices():
    scheduler = Scheduler()
    huge, small = task(10 * CHUNK, flow="p", batch=2), task(1, flow="q", batch=2)
    scheduler.add(huge)
    assert [(part.task, part.start, part.stop) for part in scheduler.take()] == [(huge, 0, CHUNK)]
    scheduler.add(small)
    assert [part.task for part in scheduler.take()] == [small]
    assert [(part.start, part.stop) for part in scheduler.take()] == [(CHUNK, 2 * CHUNK)]


def test_tasks_that_fit_run_together_in_the_order_of_turns():
    scheduler = Scheduler()
    sizes = {"p": 3, "q": 6, "r": 2, "s": 3}
    for flow, size in sizes.items():
        scheduler.add(task(size, flow=flow, batch=2))
    batches = [[part.task.flow for part in batch] for batch in islice(iter(scheduler.take, []), 2)]
    assert batches == [["p", "r", "s"], ["q"]]


def test_within_a_flow_the_earliest_deadline_goes_first():
    scheduler = Scheduler()
    for deadline in (3.0, 1.0, 2.0):
        scheduler.add(task(CHUNK, deadline=deadline))
    assert [batch[0].task.deadline for batch in take_all(scheduler)] == [1.0, 2.0, 3.0]
