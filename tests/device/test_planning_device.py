"""Planners whose arrays are tensors: what the model's device does is what numpy does."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import planners
from tests.support.planners import PLANNERS, A, S, distance_to, means_kept_and_overwritten, seeds
from worldforge_jepa_client.planning import CEM, ICEM, MPPI, HostArrays, PlannerOptions, make_planner, plan
from worldforge_jepa_server.device.planner_arrays import DeviceArrays

H = 5
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

every_planner = pytest.mark.parametrize("kind", PLANNERS)
every_device = pytest.mark.parametrize("device", DEVICES)


def make(kind, device="cpu", **options):
    return planners.make(kind, **{"horizon": H, "arrays": partial(DeviceArrays, device), **options})


def planned(planner, score, iterations):
    return plan(planner, score, iterations).cpu().numpy()


class DrawnByNumpy(DeviceArrays):
    """Tensors, but numpy's random numbers."""

    def __init__(self, device, rng):
        super().__init__(device, rng)
        self._host = HostArrays(rng)

    def normal(self, shape):
        return self.single(self._host.normal(shape))


@every_device
@every_planner
def test_everything_stays_on_the_device_as_float32(kind, device):
    planner = make(kind, device, keep_best=True, prior_fraction=0.5)
    for _ in range(3):
        candidates = planner.ask()
        assert candidates.shape == (1, S, H, A)
        planner.tell(distance_to(1)(candidates))
        for tensor in (candidates, planner.mean, planner.std, planner.best_actions):
            assert isinstance(tensor, torch.Tensor)
            assert (tensor.dtype, tensor.device.type) == (torch.float32, device)
    assert isinstance(planner.best_score, float)
    assert isinstance(planner.spread, float)


@every_device
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (CEM, {}),
        (CEM, {"momentum": 0.3, "keep_best": True}),
        (ICEM, {}),
        (ICEM, {"decay": 1.25, "noise_beta": 3.5}),
        (MPPI, {}),
        (MPPI, {"elites": 10, "refit_std": True, "temperature": 0.5}),
    ],
)
@given(
    seed=seeds,
    bound=st.sampled_from([0.3, 1.5, np.inf]),
    prior_fraction=st.floats(0, 1),
    min_std=st.floats(0, 0.5),
)
def test_given_the_same_draws_and_scores_both_come_to_the_same(
    kind, options, device, seed, bound, prior_fraction, min_std
):
    shared = {
        **options,
        "rng": seed,
        "low": [-bound, -1],
        "high": [bound, np.inf],
        "prior_fraction": prior_fraction,
        "min_std": min_std,
        "initial_mean": np.full((H, A), 0.5),
    }
    host = make(kind, arrays=HostArrays, **shared)
    there = make(kind, arrays=partial(DrawnByNumpy, device), **shared)
    for _ in range(3):
        candidates, tensors = host.ask(), there.ask()
        np.testing.assert_allclose(tensors.cpu(), candidates, atol=1e-5)
        scores = distance_to(1)(candidates)
        host.tell(scores)
        there.tell(torch.tensor(scores, device=device))
        for name in ("mean", "std", "best_actions"):
            np.testing.assert_allclose(getattr(there, name).cpu(), getattr(host, name), atol=1e-5)
        assert there.best_score == host.best_score
        assert there.spread == pytest.approx(host.spread, abs=1e-5)


@every_device
@every_planner
def test_the_same_seed_makes_the_same_plan_and_another_seed_another(kind, device):
    first, again, other = (planned(make(kind, device, rng=rng), distance_to(1), 3) for rng in (7, 7, 2**64 - 1))
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, other)


def test_torchs_global_state_is_neither_read_nor_moved():
    before = torch.get_rng_state()
    first = make(CEM).ask()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(1)
    assert torch.equal(make(CEM).ask(), first)


@every_planner
def test_the_draws_have_the_asked_moments(kind):
    candidates = make(kind, samples=20_000, initial_mean=np.full((H, A), 3.0), initial_std=[0.1, 2]).ask()[0]
    np.testing.assert_allclose(candidates.mean(0), np.full((H, A), 3), atol=0.1)
    np.testing.assert_allclose(candidates.std(0), [[0.1, 2]] * H, rtol=0.05)


@every_planner
def test_the_caller_may_overwrite_what_was_asked(kind):
    assert torch.equal(*means_kept_and_overwritten(lambda: make(kind)))


@every_planner
def test_scores_made_for_inference_only_are_told_like_any_other(kind):
    inside, outside = make(kind), make(kind)
    for _ in range(2):
        with torch.inference_mode():
            scores = distance_to(1)(inside.ask())
        inside.tell(scores)
    assert planned(outside, distance_to(1), 2).tobytes() == inside.mean.numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scores_may_be_of_any_float(dtype):
    planner = make(CEM)
    planner.ask()
    planner.tell(torch.arange(S, dtype=dtype))
    assert planner.best_score == 0


@every_planner
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.zeros(S - 1), r"^scores: got shape \(63,\), expected shape \(64,\)$"),
        (
            torch.tensor([0.0] * (S - 1) + [torch.nan]),
            r"^scores: got nan for candidate 63, expected finite numbers, or inf for never$",
        ),
    ],
)
def test_wrong_scores_are_named(kind, scores, message):
    planner = make(kind)
    planner.ask()
    with pytest.raises(ValueError, match=message):
        planner.tell(scores)


@every_device
@pytest.mark.parametrize("method", ["cem", "icem"])
def test_a_planner_made_by_name_converges_there(method, device):
    target = torch.linspace(-1, 1, H * A, device=device).reshape(H, A)
    planner = make_planner(method, PlannerOptions(horizon=H), action_dim=A, rng=0, arrays=partial(DeviceArrays, device))
    np.testing.assert_allclose(planned(planner, distance_to(target), 30), target.cpu(), atol=0.05)
