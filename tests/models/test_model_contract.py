"""The laws that every world model obeys, whatever it is made of."""

import pytest
import torch

from tests.models.rollouts import H, S, actions, rollout, scene
from tests.native.golden import Golden
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.native import tiny

MODELS = {
    "tiny": lambda: tiny.load("cpu", "tiny"),
    "adaln": Golden("adaln_tiny").model,
    "dinowm": Golden("dinowm_tiny").model,
}
TOLERANCE = 1e-4  # batches of other sizes take other kernels


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


def scores(model, plans, seed=0):
    end = rollout(model, model.encode(scene(model, seed)), plans)[-1]
    return distance(end, model.encode(scene(model, 99)), Objective.L2, 0.1)


def assert_close(actual: Latents, expected: Latents, tolerance=TOLERANCE):
    torch.testing.assert_close(actual.visual, expected.visual, rtol=0, atol=tolerance)
    torch.testing.assert_close(actual.proprio, expected.proprio, rtol=0, atol=tolerance)


def test_shapes(model):
    latents = model.encode(scene(model, 0, frames=3))
    (_, _, tokens, dim), (_, _, _, proprio_dim) = latents.visual.shape, latents.proprio.shape
    assert latents.visual.shape[:2] == (1, 3)
    steps = rollout(model, latents, actions(model, 0), actions(model, 1, samples=1, horizon=2))
    assert [step.visual.shape for step in steps] == [(S, 1, tokens, dim)] * H
    assert [step.proprio.shape for step in steps] == [(S, 1, tokens, proprio_dim)] * H
    assert not steps[-1].visual.requires_grad


def test_bytes_and_floats_of_the_same_frame_are_the_same(model):
    frames = scene(model, 0)
    floats = Observation(frames.visual.float(), frames.proprio)
    assert_close(model.encode(frames), model.encode(floats), tolerance=0)


def test_visual_latents_do_not_depend_on_proprio(model):
    frames = scene(model, 0)
    alone = model.encode(Observation(frames.visual))
    assert alone.proprio is None
    assert torch.equal(alone.visual, model.encode(frames).visual)


def test_the_same_inputs_give_the_same_scores(model):
    assert torch.equal(scores(model, actions(model, 0)), scores(model, actions(model, 0)))


def test_batched_equals_single(model):
    plans = actions(model, 0)
    apart = torch.cat([scores(model, plans[:, i : i + 1]) for i in range(S)])
    torch.testing.assert_close(scores(model, plans), apart, rtol=0, atol=TOLERANCE)


def test_permuting_candidates_permutes_scores(model):
    plans, order = actions(model, 0), torch.randperm(S, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(scores(model, plans[:, order]), scores(model, plans)[order], rtol=0, atol=TOLERANCE)


def test_a_rollout_starts_with_the_shorter_rollout(model):
    context, plans = model.encode(scene(model, 0)), actions(model, 0)
    for long, short in zip(rollout(model, context, plans), rollout(model, context, plans[:2]), strict=False):
        assert_close(long, short, tolerance=0)


def test_an_action_changes_only_what_comes_after_it(model):
    context, plans = model.encode(scene(model, 0)), actions(model, 0)
    changed = plans.clone()
    changed[2] += 1
    before, after = rollout(model, context, plans), rollout(model, context, changed)
    assert_close(before[1], after[1], tolerance=0)
    assert not torch.allclose(before[2].visual, after[2].visual, rtol=0, atol=TOLERANCE)


def test_only_the_window_counts(model):
    window = model.spec.context_window
    latents, history = model.encode(scene(model, 0, frames=4)), actions(model, 1, samples=1, horizon=3)
    recent = Latents(latents.visual[:, -window:], latents.proprio[:, -window:])
    whole = rollout(model, latents, actions(model, 0), history)
    assert_close(rollout(model, recent, actions(model, 0), history[-(window - 1) :])[-1], whole[-1])


def test_the_past_action_matters(model):
    latents = model.encode(scene(model, 0, frames=2))
    one, other = (
        rollout(model, latents, actions(model, 0), actions(model, seed, samples=1, horizon=1))[0] for seed in (1, 2)
    )
    assert not torch.allclose(one.visual, other.visual, rtol=0, atol=TOLERANCE)


def test_raw_actions_are_normalized_per_raw_dimension(model):
    spec = model.spec
    raw = torch.arange(spec.action_dim, dtype=torch.float32).expand(2, -1)
    mean, std = (
        torch.tensor(statistic).repeat(spec.frameskip)
        for statistic in (spec.normalization.action_mean, spec.normalization.action_std)
    )
    torch.testing.assert_close(model.normalize_actions(raw), (raw - mean) / std)
