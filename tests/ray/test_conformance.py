"""Through Ray Serve's proxy the promises of the proto are kept, but for slow and timed ones and one that HAProxy breaks."""

import pytest

from tests.interop.test_proxies import LOST, SLOW
from worldforge_jepa_client.tools.conformance.command import PROMISES, hold, under_test

pytestmark = pytest.mark.ray
TIMED = {"unroll-early-headers", "plan-early-headers"}  # a ratio of times, which a busy machine misses


async def test_every_promise_is_kept_through_ray_serve(ray_target):
    left_out = SLOW | TIMED | LOST["haproxy"]  # which is Ray's proxy
    async with under_test(ray_target, timeout=30.0) as subject:
        outcomes = [await hold(promise, subject) for promise in PROMISES if promise.name not in left_out]
    broken = {each.name: each.detail for each in outcomes if each.outcome == "broken"}
    assert not broken
