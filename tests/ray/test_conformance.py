"""Through Ray Serve's proxy, which is HAProxy 2.8, every promise of the proto is kept."""

import pytest

from worldforge_jepa_client.tools.conformance.command import PROMISES, hold, under_test

pytestmark = pytest.mark.ray


async def test_every_promise_is_kept_through_ray_serve(ray_target):
    subject = await under_test(ray_target)
    outcomes = [await hold(promise, subject) for promise in PROMISES]
    broken = {each.name: each.detail for each in outcomes if each.outcome == "broken"}
    assert not broken
