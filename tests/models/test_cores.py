"""A CPU's cores: a large batch is unrolled in two halves at once, small work stays on one core, scores stay the same."""

import threading

import pytest
import torch

from tests.models.rollouts import actions, rollout, scene
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.devices import torch_threads
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.models.native.cores import SMALL, Halves, threads_for

MODEL = tiny.load("cpu", "tiny")
H = 3
LARGE = 130  # candidates: two large halves of the embedded model's latents
ONE = torch.zeros(1, 1, SMALL // 4, 1)  # so that a batch of 4 is large
SECONDS = 20


@pytest.fixture(autouse=True)
def two_threads():
    with torch_threads(2):
        yield


def counting(*_):
    """A model's unroll whose latents are the threads that its operations may use."""
    while True:
        yield Latents(torch.full((1, 1), float(torch.get_num_threads())))


@pytest.mark.parametrize("batch", [LARGE, LARGE + 1])
@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("scenes", ["one scene", "a scene for each"])
def test_halves_give_what_the_whole_gives(batch, frames, scenes):
    context, taken = MODEL.encode(scene(MODEL, 0, frames)), actions(MODEL, 0, batch, H)
    past = actions(MODEL, 1, 1, frames - 1) if frames > 1 else None
    if scenes != "one scene":
        context = Latents(*(part.repeat(batch, 1, 1, 1) for part in (context.visual, context.proprio)))
        past = None if past is None else past.repeat(1, batch, 1)
    for halved, whole in zip(
        rollout(MODEL, context, taken, past), rollout(MODEL.module, context, taken, past), strict=True
    ):
        torch.testing.assert_close(halved.visual, whole.visual, rtol=0, atol=1e-5)
        torch.testing.assert_close(halved.proprio, whole.proprio, rtol=0, atol=1e-5)


def test_both_halves_run_at_the_same_time_in_threads_of_their_own():
    both, seen = threading.Barrier(2), set()

    def meeting(latents, taken, past):
        for _ in taken:
            both.wait(SECONDS)  # broken where one runs after the other
            seen.add(threading.get_ident())
            yield Latents(torch.full((taken.shape[1], 1), 1.0))

    steps = rollout(Halves(meeting), Latents(ONE), torch.zeros(H, 5, 2))
    assert [len(step.visual) for step in steps] == [5] * H
    assert len(seen) == 2
    assert threading.get_ident() in seen


def test_small_work_stays_on_one_core_and_a_half_has_half_the_cores():
    with torch_threads(4):
        for batch, threads in ((3, 1.0), (4, 2.0)):
            (step,) = rollout(Halves(counting), Latents(ONE), torch.zeros(1, batch, 2))
            assert set(step.visual.flatten().tolist()) == {threads}
        assert torch.get_num_threads() == 4
        assert (threads_for(SMALL - 1), threads_for(SMALL)) == (1, 4)


def test_a_single_large_candidate_has_all_cores():
    (step,) = rollout(Halves(counting), Latents(torch.zeros(1, 1, SMALL, 1)), torch.zeros(1, 1, 2))
    assert step.visual.tolist() == [[2.0]]


def test_for_a_single_thread_nothing_is_halved():
    with torch_threads(1):
        assert len(rollout(Halves(counting), Latents(ONE), torch.zeros(H, 8, 2))[0].visual) == 1


@pytest.mark.parametrize("fails", ["mine", "other"])
def test_an_error_waits_for_the_other_half(fails):
    here, begun, failed, ended = threading.get_ident(), threading.Event(), threading.Event(), []

    def failing(latents, taken, past):
        if (threading.get_ident() == here) == (fails == "mine"):
            assert begun.wait(SECONDS)
            failed.set()
            raise MemoryError
        begun.set()
        assert failed.wait(SECONDS)
        torch.ones(1000, 1000).sum()
        ended.append(True)
        yield Latents(torch.zeros(1, 1))

    with pytest.raises(MemoryError):
        rollout(Halves(failing), Latents(ONE), torch.zeros(H, 8, 2))
    assert ended


def test_the_embedded_models_batches_are_halved_when_they_are_large():
    used = {}
    with torch.inference_mode():
        context = MODEL.encode(scene(MODEL, 0))
        for batch in (4, LARGE):
            seen = used[batch] = set()
            watch = MODEL.module.predictor.register_forward_pre_hook(
                lambda *_, seen=seen: seen.add((threading.get_ident(), torch.get_num_threads()))
            )
            rollout(MODEL, context, actions(MODEL, 0, batch, H))
            watch.remove()
    assert used[4] == {(threading.get_ident(), 1)}
    assert [threads for _, threads in used[LARGE]] == [1, 1]


def test_without_openmp_nothing_is_halved_and_no_thread_count_is_touched(monkeypatch):
    monkeypatch.setattr(torch.backends.openmp, "is_available", lambda: False)
    monkeypatch.setattr(torch, "set_num_threads", None)
    model, seen = tiny.load("cpu", "tiny"), set()
    model.module.predictor.register_forward_pre_hook(lambda *_: seen.add(threading.get_ident()))
    rollout(model, model.encode(scene(model, 0)), actions(model, 0, LARGE, H))
    assert seen == {threading.get_ident()}
