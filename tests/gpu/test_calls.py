"""A native model's call on a device: the CPU's scores, bounded memory, an end when its caller goes, one wait."""

import contextlib

import numpy as np
import pytest
import torch

from tests.device.score_jobs import whole_slice
from tests.gpu import DEVICE, models
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.errors import CallCancelledError
from worldforge_jepa_server.device.encoding import EncodedScene
from worldforge_jepa_server.device.memory import peak_bytes
from worldforge_jepa_server.device.runner import LatentScores
from worldforge_jepa_server.models.precision import Execution

S, H = 8, 3
ON_CUDA = pytest.mark.skipif(not DEVICE.startswith("cuda"), reason="no CUDA device is tested")


@pytest.fixture(params=models.NAMES if DEVICE != "cpu" else models.NAMES[:1])
def name(request):
    return request.param


def slices(served, samples=S, horizon=H, frames=1):
    """One job that has begun, and its runner."""
    start, goal = served.encode(models.scene(served, frames)), served.encode(models.scene(served, seed=9))
    history = None
    if frames > 1:
        history = models.actions(served, frames - 1, 1, seed=2).transpose(0, 1).numpy(force=True)
    runner = LatentScores(served, served.spec, chunk=512)
    candidates = models.actions(served, horizon, samples).transpose(0, 1).numpy(force=True)
    return runner, [whole_slice(runner, EncodedScene(start, goal, history), candidates, ScoreOptions())]


def scores(served, **sizes):
    runner, batch = slices(served, **sizes)
    return runner.measure(batch).numpy(force=True)


@pytest.mark.parametrize("frames", [1, 2])
def test_scores_are_those_of_the_cpu(name, frames):
    expected = scores(models.model(name, "cpu"), frames=frames)
    np.testing.assert_allclose(scores(models.model(name, DEVICE), frames=frames), expected, rtol=1e-4)
    assert expected.std() > 0


@ON_CUDA
def test_bfloat16_stays_near_float32(name):
    exact = scores(models.model(name, DEVICE))
    np.testing.assert_allclose(scores(models.model(name, DEVICE, Execution(torch.bfloat16))), exact, rtol=0.1)


@ON_CUDA
def test_memory_grows_with_candidates_not_with_the_horizon(name):
    served = models.model(name, DEVICE)

    def peak(samples, horizon):
        runner, batch = slices(served, samples, horizon)
        runner.measure(batch)
        return peak_bytes(DEVICE, lambda: runner.measure(batch))

    short, long, many = peak(S, 3), peak(S, 12), peak(4 * S, 3)
    assert 0 < long < 1.5 * short
    assert short < many < 6 * short


def test_a_caller_that_goes_ends_its_call_and_the_next_one_is_right(name):
    served = models.model(name, DEVICE)
    runner, batch = slices(served)
    expected = runner.measure(batch).numpy(force=True)
    unroll, steps = served.unroll, []

    def leaving(*arguments):
        for step in unroll(*arguments):
            steps.append(step)
            batch[0].task.cancelled.set()
            yield step

    served.unroll = leaving
    with pytest.raises(CallCancelledError):
        runner.measure(batch)
    assert len(steps) == 1
    served.unroll = unroll
    runner, batch = slices(served)
    np.testing.assert_array_equal(runner.measure(batch).numpy(force=True), expected)


@contextlib.contextmanager
def waits_are_errors():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@ON_CUDA
def test_nothing_waits_for_the_device_before_the_scores_are_read(name):
    runner, batch = slices(models.model(name, DEVICE))
    runner.measure(batch)  # makes the rotary tables
    with waits_are_errors():
        costs = runner.measure(batch)
    assert np.isfinite(costs.numpy(force=True)).all()


@ON_CUDA
def test_out_of_memory_is_met_by_smaller_chunks():
    served = models.model("jepa_wm_pusht", DEVICE)
    runner, batch = slices(served, samples=512)
    expected = runner.measure(batch).numpy(force=True)
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    taken = peak_bytes(DEVICE, lambda: runner.measure(batch)) / 1.25
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated(DEVICE) + 0.7 * taken) / total, DEVICE)
    try:
        (outcome,) = runner.run(batch)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    assert outcome is None
    assert runner.chunk < 512
    np.testing.assert_allclose(batch[0].task.scores, expected, rtol=1e-4)
