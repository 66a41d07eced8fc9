"""`hub:NAME` rolls out as upstream does: on a stand-in with its surface and faults, and on upstream itself.

    JEPA_WMS_HUB_REPO=/path/to/jepa-wms pytest tests/external/test_hub*.py

docs/models.md says what that needs.
"""

import pytest
import torch

from tests.external.hub import NAMES, A, H, P, S, frames, join, loaded, random_actions
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.errors import InternalError, InvalidArgumentError
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Latents, Observation

ROUNDING = 1e-5  # of one call, where batches or strides differ
PREDICT = 5e-5


@pytest.fixture(
    scope="module", params=[(repo, name) for repo in ("stand-in", "upstream") for name in NAMES], ids="-".join
)
def chosen(request):
    return request.param


@pytest.fixture(scope="module")
def model(chosen):
    return loaded(*chosen)


@pytest.fixture(scope="module")
def upstream(model):
    """The object that torch hub returned."""
    return model._model


@pytest.fixture(scope="module")
def predicted(model):
    return join(model.unroll(model.encode(frames()), random_actions(), None))


@pytest.fixture(scope="module")
def rolled(upstream):
    """Return the result of upstream's own unroll on the same inputs."""
    context = upstream.encode({"visual": frames().visual, "proprio": frames().proprio})
    return upstream.unroll(context, act_suffix=random_actions())


def test_the_spec_is_what_is_published(model, chosen):
    spec, entry = model.spec, CATALOG[chosen[1]]
    assert (spec.action_dim, spec.raw_action_dim, spec.frameskip, spec.proprio_dim) == (A, 2, 5, P)
    assert (spec.context_window, spec.objective, spec.proprio_weight) == (2, Objective.L2, 0.1)
    assert (spec.environment, spec.encoder, spec.planner) == ("pusht", "dinov2_vits14", entry.environment.planner)
    assert spec.normalization.action_mean == pytest.approx(entry.normalization.action_mean)
    assert spec.normalization.proprio_std == pytest.approx(entry.normalization.proprio_std, rel=1e-5)
    assert spec.image_size == {"stand-in": 8, "upstream": 224}[chosen[0]]
    assert "image_head" not in model._model.heads


def test_upstream_still_has_the_faults_that_the_adapter_works_around(upstream):
    observation = frames(2)
    context = upstream.encode({"visual": observation.visual[:, :1], "proprio": observation.proprio[:, :1]})
    plain = {"visual": context["visual"], "proprio": context["proprio"]}
    assert upstream.unroll(plain, act_suffix=random_actions(1, 1)) is None
    two = upstream.encode({"visual": observation.visual, "proprio": observation.proprio})
    with pytest.raises(RuntimeError):
        upstream.unroll(two, act_suffix=random_actions(1, 1))


def test_encode_is_upstreams_to_the_bit(model, upstream):
    observation = frames(2)
    expected = upstream.encode({"visual": observation.visual, "proprio": observation.proprio})
    latents = model.encode(observation)
    assert torch.equal(latents.visual, expected["visual"])
    assert torch.equal(latents.proprio, expected["proprio"])
    bare = model.encode(Observation(observation.visual))
    assert torch.equal(bare.visual, expected["visual"])
    assert bare.proprio is None


def test_unroll_is_upstreams_to_the_bit(predicted, rolled):
    for part in ("visual", "proprio"):
        assert torch.equal(getattr(predicted, part).transpose(0, 1), rolled[part][1:])
    assert not predicted.visual.requires_grad


def test_a_predicted_frame_in_the_context_goes_on_where_it_was(model, predicted):
    """From [now, predicted] with the action between them, the next action predicts what it did before."""
    now, actions = model.encode(frames()), random_actions()
    context = Latents(
        torch.cat([now.visual.expand(S, *now.visual.shape[1:]), predicted.visual[:, :1]], 1),
        torch.cat([now.proprio.expand(S, *now.proprio.shape[1:]), predicted.proprio[:, :1]], 1),
    )
    resumed = join(model.unroll(context, actions[1:], actions[:1]))
    torch.testing.assert_close(resumed.visual, predicted.visual[:, 1:], rtol=0, atol=ROUNDING)
    torch.testing.assert_close(resumed.proprio, predicted.proprio[:, 1:], rtol=0, atol=ROUNDING)


def test_only_the_window_counts(model):
    context = model.encode(frames(3))
    last_two = Latents(context.visual[:, 1:], context.proprio[:, 1:])
    action, history = random_actions(1, 1), random_actions(2, 1) + 1
    long, short = join(model.unroll(context, action, history)), join(model.unroll(last_two, action, history[1:]))
    torch.testing.assert_close(long.visual, short.visual, rtol=0, atol=PREDICT)


def test_stopping_stops_the_computation(model, upstream, monkeypatch):
    calls = []
    forward = upstream.model.forward_pred
    monkeypatch.setattr(upstream.model, "forward_pred", lambda *a: calls.append(1) or forward(*a))
    next(iter(model.unroll(model.encode(frames()), random_actions(3, 1), None)))
    assert len(calls) == 1


def test_raw_actions_are_normalized_per_packed_step(model, upstream):
    raw = random_actions()
    expected = upstream.preprocessor.normalize_actions(raw.reshape(H, S, 5, 2)).reshape(H, S, A)
    torch.testing.assert_close(model.normalize_actions(raw), expected, rtol=0, atol=1e-6)


def test_images_whose_sides_differ_by_one_are_cropped_the_same_every_time(model):
    for height, width in ((30, 31), (31, 30)):
        given = Observation(frames(height=height, width=width).visual)
        first = model.encode(given).visual
        assert all(torch.equal(model.encode(given).visual, first) for _ in range(4))
        assert torch.equal(model.encode(Observation(given.visual[..., :30, :30])).visual, first)


def test_unrolling_without_proprio_says_what_to_add(model):
    with pytest.raises(InvalidArgumentError, match=r"proprio: is missing; .* raw \(1, T, 4\)"):
        next(iter(model.unroll(model.encode(Observation(frames().visual)), random_actions(), None)))


def test_an_exception_in_upstream_code_becomes_one_clear_error(model):
    with pytest.raises(InternalError, match=r"m\.encode raised \w+Error; the server") as caught:
        model.encode(Observation(torch.zeros(1, 1, 4, 16, 16)))
    assert caught.value.reason == "MODEL_FAILED"
