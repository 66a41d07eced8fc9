"""Replicas that come, go and die below running callers: what fails, and how soon all is well again."""

import contextlib
import os
import signal
import time

import pytest

from benchmarks.scale.load import CANDIDATES, MODEL, SCENE, loaded
from tests.ray.conftest import BY_PENDING_WORK
from worldforge_jepa_client import Client

pytestmark = pytest.mark.ray
RECOVERY_SECONDS, CALLERS = 30, 8
NEW = {"ray_actor_options": {"num_cpus": 0.1, "runtime_env": {"env_vars": {"VERSION": "2"}}}}


def test_after_a_kill_of_a_replica_calls_in_flight_fail_and_full_service_is_back_soon(cluster):
    doomed, kept = cluster.wait(lambda running: len(running) == 2)
    with loaded(cluster.target, CALLERS) as load:
        load.rate(1)
        os.kill(doomed, signal.SIGKILL)
        began = time.monotonic()
        running = cluster.wait(lambda running: len(running) == 2 and doomed not in running)
        assert time.monotonic() - began < RECOVERY_SECONDS
        assert kept in running
        assert load.rate(2) > 0
    assert set(load.errors) <= {"UNAVAILABLE", "CONTEXT_NOT_FOUND"}
    assert load.errors.total() <= CALLERS


def test_a_redeploy_below_callers_makes_no_call_unavailable(cluster):
    before = cluster.wait(lambda running: len(running) == 2)
    with loaded(cluster.target, CALLERS) as load:
        cluster.deploy(**NEW)
        cluster.wait(lambda running: len(running) == 2 and not set(before) & set(running))
        load.rate(2)
    assert load.answers > CALLERS
    assert set(load.errors) <= {"CONTEXT_NOT_FOUND"}


def test_replicas_follow_the_pending_work_and_not_the_open_streams(cluster):
    with Client(cluster.target, timeout=60) as client, contextlib.ExitStack() as stack:
        for _ in range(CALLERS):
            session = stack.enter_context(client.session(**SCENE, model=MODEL))
            session.score(CANDIDATES)
        cluster.deploy(autoscaling_config={**BY_PENDING_WORK, "min_replicas": 1})
        cluster.wait(lambda running: len(running) == 1)
        with loaded(cluster.target, CALLERS) as load:
            cluster.wait(lambda running: len(running) == 2)
    assert set(load.errors) <= {"CONTEXT_NOT_FOUND"}
