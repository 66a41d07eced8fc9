"""The failures of a foreign model: out of memory, exceptions, scores that are not finite."""

import logging

import numpy as np
import pytest
import torch

from tests.external.test_python_source import CANDIDATES, ask, call, seen, served
from tests.support import python_models
from tests.support.in_process import running
from worldforge_jepa_client import AsyncClient, Client
from worldforge_jepa_client.contract.types import ScoreOptions
from worldforge_jepa_client.errors import InternalError, InvalidArgumentError, ResourceExhaustedError
from worldforge_jepa_server.local import LocalClient
from worldforge_jepa_server.models.external.adapt import adapt

FOUR = np.zeros((1, 2, 3, 4), np.float32)
FOUR[0, 1] = -1.0  # three steps of -4


# Memory, modes and errors


class NeedsMemory(python_models.Plain):
    """Has room for one candidate at a time."""

    def unroll(self, z_ctxt, act_suffix):
        if act_suffix.shape[1] > 1:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")
        return super().unroll(z_ctxt, act_suffix)


def test_out_of_memory_on_the_cpu_is_tried_again_with_fewer_candidates(caplog):
    assert ask(served(NeedsMemory()), call(FOUR)).scores.tolist() == [4.0, 100.0]
    assert "from now on 1 candidates at a time" in caplog.text


def test_out_of_memory_on_the_cpu_in_a_scoring_method_is_resource_exhausted():
    model = python_models.Answering(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(ResourceExhaustedError):
        ask(served(model))


def test_torch_is_as_before_after_a_call():
    class Careless(python_models.Scorer):
        def score_actions(self, **told):
            torch.set_num_threads(before[0] + 1)
            torch.set_default_dtype(torch.float64)
            torch.set_grad_enabled(True)
            return self._answer(**told)

    def modes():
        return torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()

    with torch.no_grad():
        before = modes()
        ask(served(Careless()))
        assert modes() == before


def test_the_text_of_an_exception_stays_in_the_log(caplog):
    model = python_models.Answering(ValueError("the secret path"))
    with caplog.at_level(logging.ERROR), pytest.raises(InternalError) as caught:
        ask(served(model))
    assert "the secret path" not in str(caught.value)
    assert str(caught.value).rpartition(" ")[2] in caplog.text
    assert "the secret path" in caplog.text


def test_the_text_of_an_exception_is_told_where_asked_for():
    model = python_models.Answering(ValueError("no such key"))
    shown = adapt(model, name="m", source="test", device="cpu", error_detail=True)
    with pytest.raises(InternalError, match=r"raised ValueError: no such key; the server's log has incident"):
        ask(shown)


# Scores that are not finite


@pytest.mark.parametrize(("lower_is_better", "never"), [(True, np.inf), (False, -np.inf)])
async def test_a_candidate_that_is_never_to_be_chosen_is_ranked_last(lower_is_better, never):
    """By Score and by Plan; here it is one whose last first entry is on the bad side of 0.5."""

    class Choosy(python_models.Scorer):
        def score_actions(self, *, action_candidates, **_):
            entries = action_candidates[0, :, -1, 0]
            scores = torch.where(entries > 0.5, entries, never)
            return {"scores": scores, "lower_is_better": lower_is_better}

    model = adapt(Choosy(), name="m", source="test", device="cpu")
    frames = {"observation": seen(9).visual, "goal": seen(7).visual}
    candidates = CANDIDATES.copy()
    candidates[0, :, -1, 0] = [0.1, 1, 3]
    async with running(models={"m": model}) as server, AsyncClient(server.target, timeout=30) as client:
        scored = await client.score(**frames, action_candidates=candidates)
        plan = await client.plan(**frames, horizon=2, samples=64, iterations=4, elites=8).result()
    assert scored.scores[0] == never
    assert scored.best_index == (1 if lower_is_better else 2)
    assert plan.actions[-1, 0] > 0.5
    assert np.isfinite(plan.score)


def test_candidates_that_overflow_are_the_callers_fault():
    class Half(python_models.Plain):
        def unroll(self, z_ctxt, act_suffix):
            return {"visual": super().unroll(z_ctxt, act_suffix)["visual"].half()}

    candidates = np.repeat(FOUR, 2, axis=1)
    candidates[0, [1, 3]] = 1e5
    with pytest.raises(InvalidArgumentError, match=r"up to 100000 in candidates 1, 3, which overflow") as caught:
        ask(served(Half()), call(candidates))
    assert caught.value.field == "action_candidates"


def test_a_score_that_is_not_finite_of_ordinary_candidates_is_the_models_fault():
    model = python_models.Plain()
    model.unroll = lambda z_ctxt, act_suffix: {"visual": torch.full((3, act_suffix.shape[1], 1), torch.nan)}
    with pytest.raises(InternalError, match="2 of 2 scores as NaN or infinite"):
        ask(served(model), call(FOUR, options=ScoreOptions()))


@pytest.mark.parametrize(("flag", "told"), [("--no-error-detail", False), ("--error-detail", True)])
def test_the_flag_decides_whether_callers_are_told(start_server, flag, told):
    server = start_server(
        "--model=m=python:tests.external.faulty_models:faulty,case=raises-value-error", "--threads=1", flag
    )
    frame = np.zeros((3, 4, 4), np.uint8)
    with Client(server.target, timeout=30) as client, pytest.raises(InternalError) as caught:
        client.score(
            observation={"visual": frame, "proprio": np.zeros(2)},
            goal={"visual": frame, "proprio": np.zeros(2)},
            action_candidates=np.zeros((1, 2, 3, 10), np.float32),
        )
    assert ("no such key" in str(caught.value)) == told
    server.wait_logged("no such key")


def test_a_plan_leaves_out_candidates_that_a_model_calls_infeasible():
    class HalfIsForbidden(python_models.Scorer):
        action_dim = 4

        def score_actions(self, *, action_candidates, **_):
            scores = action_candidates.square().sum((0, 2, 3))
            return {"scores": torch.where(scores > scores.median(), torch.inf, scores)}

    with LocalClient(served(HalfIsForbidden())) as local:
        scene = {"observation": seen(9).visual, "goal": seen(7).visual}
        plan = [*local.plan(**scene, horizon=2, iterations=2, samples=16, elites=12)]
    for progress in plan:
        assert np.isfinite([progress.mean_score, progress.best_score, progress.spread]).all()
        assert np.isfinite(progress.mean).all()
