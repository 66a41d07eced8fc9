"""The timing in a response says where the server's time went."""

import asyncio
import time

from tests.support.scenes import RAW, candidates, raw_candidates, scene
from worldforge_jepa_client.inputs.build import build_scene, build_score_call
from worldforge_jepa_server.scheduling.engine import Caller

ACCOUNTED = 0.9


def parts(timing):
    return timing.queue_us + timing.decode_us + timing.encode_us + timing.unroll_us + timing.distance_us


def accounted(timing):
    return ACCOUNTED * timing.total_us <= parts(timing) <= 1.01 * timing.total_us


async def test_a_call_by_itself_spends_its_time_on_the_device(client):
    timing = (await client.score(**scene(), **raw_candidates(200, 8))).timing
    assert accounted(timing)
    assert timing.unroll_us > timing.queue_us + timing.decode_us + timing.distance_us


async def test_a_waiting_call_reports_its_queue_time(client):
    sizes = ((200, 8), (100, 6), (100, 5), (900, 4))
    results = await asyncio.gather(*(client.score(**scene(), **raw_candidates(*size)) for size in sizes))
    assert all(accounted(result.timing) for result in results)
    assert max(result.timing.queue_us for result in results) > min(result.timing.unroll_us for result in results)


async def test_streams_and_plans_account_for_their_time(client):
    async with client.session(**scene()) as session:
        for seed in range(3):
            assert accounted((await session.score(candidates(100, 6, seed))).timing)
    async for progress in client.plan(**scene(), samples=64, horizon=6, iterations=3, elites=4):
        assert accounted(progress.timing)


async def test_the_total_is_all_of_the_servers_time(server):
    where = build_scene(scene()["observation"], scene()["goal"], None)
    call = build_score_call(where, candidates(200, 8), **RAW)
    began = time.perf_counter()
    timing = (await server.runtime.score(call, Caller(arrived=began))).timing
    assert parts(timing) >= ACCOUNTED * (time.perf_counter() - began) * 1e6
