"""Memory: measured at warm-up, kept within the budget by fewer candidates at a time, whatever the horizon."""

import platform
import re
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch

from tests.device.score_jobs import measured
from tests.support.in_process import running
from tests.support.scenes import candidates, raw_candidates, scene
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.contract.spec import MemoryUse
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.errors import OutOfRangeError
from worldforge_jepa_client.inputs.build import build_scene
from worldforge_jepa_server.config import ByteSize, ServerConfig
from worldforge_jepa_server.device.cache import Cache
from worldforge_jepa_server.device.encoding import Encoder
from worldforge_jepa_server.device.memory import peak_bytes
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.rpc.servicer import SERVICE_NAME
from worldforge_jepa_server.runtime.model_table import deploy

MODEL = tiny.load("cpu", "tiny")
MEASURED = warm_up(MODEL)
MIB = 2**20


def score_here(samples, horizon):
    encoded = Encoder(Cache(0, 0.0)).encode_scene(MODEL, build_scene(scene()["observation"], scene()["goal"], None))
    return measured(MODEL, encoded, candidates(samples, horizon)[0], ScoreOptions(actions_are_normalized=False))


def test_peak_memory_counts_live_tensors_only():
    def work(times):
        kept = torch.zeros(MIB // 4)
        for _ in range(times):
            kept = kept + 1

    assert peak_bytes("cpu", partial(work, 1)) == peak_bytes("cpu", partial(work, 9)) >= 2 * MIB


def test_the_peak_does_not_depend_on_the_horizon():
    short, long = (peak_bytes("cpu", partial(score_here, 32, horizon)) for horizon in (3, 24))
    assert long < 1.05 * short


def test_warm_up_memory_predicts_larger_batches():
    assert peak_bytes("cpu", partial(score_here, 64, 3)) == pytest.approx(64 * MEASURED.bytes_per_sample, rel=0.2)


def deployed(memory=MEASURED, **settings):
    return deploy(MODEL, memory, replace(ServerConfig(), **settings))


def test_as_many_candidates_go_at_a_time_as_the_budget_holds():
    assert deployed(memory_budget=10 * MEASURED.bytes_per_sample).runner.chunk == 10
    assert deployed().runner.chunk == ServerConfig.chunk_size
    assert deployed(MemoryUse(1, 0)).runner.chunk == deployed(None).runner.chunk == ServerConfig.chunk_size


def test_measured_memory_is_published_in_the_spec():
    assert deployed().spec.memory == MEASURED
    assert MEASURED.weights_bytes == 4 * MODEL.spec.parameter_count
    assert MEASURED.bytes_per_sample > 0


def test_a_budget_too_small_for_one_candidate_is_an_error_that_names_both():
    with pytest.raises(ModelLoadError, match=rf"{MEASURED.bytes_per_sample} bytes.*--memory-budget is 1KiB"):
        deployed(memory_budget=ByteSize("1KiB"))


async def test_more_candidate_steps_than_there_is_room_for_are_out_of_range():
    async with running(memory_budget=MIB) as server, AsyncClient(server.target, timeout=60) as client:
        most = (await client.model()).limits.max_candidate_steps
        assert most == MIB // (32 * 10)
        wrong = raw_candidates(most // 12 + 1, 12)
        with pytest.raises(OutOfRangeError, match=f"samples x horizon; the limit is {most}"):
            await client.score(**scene(), **wrong)
        with pytest.raises(OutOfRangeError):
            await client.plan(**scene(), samples=most // 6 + 1, horizon=6).result()
    async with running(queue_size=100) as server, AsyncClient(server.target, timeout=60) as client:
        assert (await client.model()).limits.max_candidate_steps == 100


def resident(process, key):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_a_large_call_takes_no_more_than_the_budget(start_server):
    budget = 48 * MIB
    server = start_server("--memory-budget", "48MiB")
    with Client(server.target, timeout=100) as client:
        client.score(**scene(), **raw_candidates(8))
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak is that from now on
        before = resident(server.process, "VmRSS")
        scores = client.score(**scene(), **raw_candidates(1500, 4)).scores
        grown = resident(server.process, "VmHWM") - before
    assert np.isfinite(scores).all()
    assert grown <= 1.1 * budget
    server.terminate()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_of_large_messages_is_released_once_the_server_rests(start_server):
    server = start_server("--threads", "1")
    size = 20 * MIB
    unknown_field = b"\xc2\x3e" + bytes(size >> shift & 0x7F | 0x80 for shift in (0, 7, 14)) + bytes([size >> 21])
    with grpc.insecure_channel(server.target) as channel:
        score = channel.unary_unary(f"/{SERVICE_NAME}/Score")
        before = resident(server.process, "RssAnon")
        calls = [score.future(unknown_field + bytes(size), timeout=60) for _ in range(8)]
        assert [call.code() for call in calls] == [grpc.StatusCode.INVALID_ARGUMENT] * 8
    grown = resident(server.process, "RssAnon") - before
    deadline = time.monotonic() + 60
    while resident(server.process, "RssAnon") - before > grown / 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert grown > 50 * MIB


TRIMMED = """
import numpy as np
from worldforge_jepa_server.app.system import trim_malloc, tune_malloc
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
tune_malloc()
parts = [np.ones(2**17) for _ in range(200)]
most = resident()
del parts
kept = resident()
trim_malloc()
print(most - kept, kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_used_during_loading_is_released():
    output = subprocess.run([sys.executable, "-c", TRIMMED], capture_output=True, text=True, check=True, timeout=60)
    by_itself, trimmed = map(int, output.stdout.split())
    assert by_itself < 20 * MIB
    assert trimmed > 150 * MIB


@pytest.mark.parametrize(
    ("text", "size", "shown"),
    [
        ("512MiB", 512 * MIB, "512MiB"),
        ("1.5 GiB", 1536 * MIB, "1536MiB"),
        ("2GB", 2 * 10**9, "1953125KiB"),
        ("7", 7, "7"),
    ],
)
def test_sizes_are_parsed_with_units(text, size, shown):
    assert ByteSize(text) == size
    assert str(ByteSize(text)) == shown


@pytest.mark.parametrize("text", ["", "MiB", "1 parsec", "-1GiB", "0", "1..5GiB", "1giga"])
def test_malformed_sizes_are_refused(text):
    with pytest.raises(ValueError, match="size"):
        ByteSize(text)
