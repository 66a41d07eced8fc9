"""Both architectures are upstream's: random weights and upstream's own outputs, reproduced."""

import pytest
import torch

from tests.native.golden import Golden
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.errors import InternalError
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.predictors.causal import CausalConfig
from worldforge_jepa_server.models.native.preprocess import to_pixels
from worldforge_jepa_server.models.native.weights.checkpoint import CheckpointError, load_weights

PIXELS, ENCODE, PREDICT, UNROLL, SCORE = 5e-6, 2e-5, 5e-5, 2e-4, 1e-5


@pytest.fixture(scope="module", params=["adaln_tiny", "dinowm_tiny"])
def golden(request) -> Golden:
    return Golden(request.param)


@pytest.fixture(scope="module")
def model(golden) -> NativeModel:
    return golden.model()


def join(frames) -> Latents:
    """Frames [B, 1, ...] as upstream stacks them, time first."""
    frames = list(frames)
    return Latents(
        torch.stack([frame.visual[:, 0] for frame in frames]),
        torch.stack([frame.proprio[:, 0] for frame in frames]),
    )


@pytest.mark.parametrize("suffix", ["", "_tall"])
def test_pixels(golden, suffix):
    config = golden.config()
    frames = golden.given[f"visual{suffix}"][0]
    for given in (frames, frames.float()):
        pixels = to_pixels(given, config.encoder.image_size, config.pixel_mean, config.pixel_std)
        golden.close(pixels, f"pixels{suffix}", PIXELS)


def test_position_embedding_and_embedded_tokens(golden, model):
    encoder = model.module.encoder
    golden.close(encoder.position_embedding(), "pos_embed_used", PIXELS)
    golden.close(encoder.embed(golden.expected["pixels"][0]), "enc_tokens_embedded", ENCODE)


@pytest.mark.parametrize(
    ("visual", "proprio", "output"),
    [("visual", "proprio", "z"), ("goal_visual", "goal_proprio", "goal"), ("visual3", "proprio3", "z3")],
)
def test_encode(golden, model, visual, proprio, output):
    latents = model.encode(golden.observe(visual, proprio))
    golden.close(latents.visual, f"{output}_visual", ENCODE)
    golden.close(latents.proprio, f"{output}_proprio", ENCODE)


@pytest.mark.parametrize("case", ["tall", "small", "exact", "flat"])
def test_encode_any_size_without_proprio(golden, model, case):
    latents = model.encode(golden.observe(f"visual_{case}"))
    assert latents.proprio is None
    golden.close(latents.visual, f"z_visual_{case}", ENCODE)


@pytest.mark.parametrize("case", ["visual", "visual_tall", "visual_small", "visual_exact"])
def test_bytes_and_floats_give_the_same_latents(golden, model, case):
    frames = golden.given[case]
    assert torch.equal(model.encode(Observation(frames)).visual, model.encode(Observation(frames.float())).visual)


def predict_all(model: NativeModel, latents: Latents, actions: torch.Tensor) -> Latents:
    """The frame after each frame."""
    predictor, tokens = model.module.predictor, model.module.predictor.embed(latents)
    ends = range(1, tokens.shape[1] + 1)
    with torch.inference_mode():
        frames = [
            predictor.project(predictor(tokens[:, :end], actions[:, :end])[0], latents, actions[:, end - 1])
            for end in ends
        ]
    return Latents(torch.cat([x.visual for x in frames], 1), torch.cat([x.proprio for x in frames], 1))


def test_one_predictor_call_over_four_frames(golden, model):
    past, now = golden.latents("z3"), golden.latents("z")
    frames = Latents(torch.cat([past.visual, now.visual], 1), torch.cat([past.proprio, now.proprio], 1))
    predicted = predict_all(model, frames, golden.given["actions"][:4, 0][None])
    golden.close(predicted.visual, "pred4_visual", PREDICT)
    golden.close(predicted.proprio, "pred4_proprio", PREDICT)


def test_one_predictor_call_on_zeros(golden, model, monkeypatch):
    now = golden.latents("z")
    zeros = Latents(torch.zeros_like(now.visual.repeat(1, 2, 1, 1)), torch.zeros_like(now.proprio.repeat(1, 2, 1, 1)))
    predictor = model.module.predictor
    if isinstance(predictor.config, CausalConfig):  # there the recorded call had zeros for action features too
        width = predictor.config.action_embed_dim
        monkeypatch.setattr(predictor.action_encoder, "forward", lambda actions: torch.zeros(*actions.shape[:2], width))
    predicted = predict_all(model, zeros, golden.given["actions"][:2, 0][None])
    golden.close(predicted.visual, "pred_zero_visual", PREDICT)
    golden.close(predicted.proprio, "pred_zero_proprio", PREDICT)


@pytest.mark.parametrize("seen", [1, 2])
def test_frames_seen_before_need_not_be_given_again(golden, model, seen):
    predictor, candidates = model.module.predictor, 2
    tokens = predictor.embed(golden.latents("z3"))
    actions = golden.given["actions"][:3, :1].transpose(0, 1).repeat(candidates, 1, 1)
    whole, _ = predictor(tokens.repeat(candidates, 1, 1, 1), actions)
    _, past = predictor(tokens[:, :seen], actions[:1, :seen])
    rest, _ = predictor(tokens[:, seen:], actions[:, seen:], past)
    torch.testing.assert_close(rest, whole, rtol=0, atol=1e-5)


def test_unroll(golden, model):
    context = model.encode(golden.observe("visual", "proprio"))
    predicted = join(model.unroll(context, golden.given["actions"], None))
    golden.close(
        torch.cat([golden.expected["unroll_visual"][:1].flatten(2, 4), predicted.visual]), "unroll_visual", UNROLL
    )
    golden.close(torch.cat([golden.expected["unroll_proprio"][:1], predicted.proprio]), "unroll_proprio", UNROLL)


@pytest.mark.parametrize(("window", "output"), [(2, "ctx3"), (3, "ctx3_window3")])
def test_unroll_and_score_from_three_frames_and_the_actions_between(golden, window, output):
    model = golden.model(window)
    context = model.encode(golden.observe("visual3", "proprio3"))
    frames = list(model.unroll(context, golden.given["actions"], golden.given["past_actions"]))
    predicted = join(frames)
    for part in ("visual", "proprio"):
        expected = golden.expected[f"{output}_unroll_{part}"][3:]
        actual = getattr(predicted, part).reshape(expected.shape)
        torch.testing.assert_close(actual, expected, rtol=0, atol=UNROLL)
    goal = model.encode(golden.observe("goal_visual", "goal_proprio"))
    golden.close(distance(frames[-1], goal, Objective.L2, 0.1), f"{output}_scores_l2_alpha0.1", SCORE)


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize(("weight", "suffix"), [(0.1, "alpha0.1"), (1.0, "alpha1"), (0.0, "visual_only")])
def test_scores(golden, model, objective, weight, suffix):
    context = model.encode(golden.observe("visual", "proprio"))
    goal = model.encode(golden.observe("goal_visual", "goal_proprio"))
    *_, last = model.unroll(context, golden.given["actions"], None)
    name = "cos" if objective is Objective.COSINE else objective.value
    golden.close(distance(last, goal, objective, weight), f"scores_{name}_{suffix}", SCORE)


def test_a_score_compares_the_last_frames_only(golden, model):
    frames = model.encode(golden.observe("visual3", "proprio3"))
    goal = model.encode(golden.observe("goal_visual", "goal_proprio"))
    for weight in (0.0, 0.1):
        expected = distance(frames.last(), goal, Objective.L2, weight)
        assert torch.equal(distance(frames, goal, Objective.L2, weight), expected)
        assert torch.equal(distance(goal, frames, Objective.L2, weight), expected)


def test_a_proprio_weight_without_proprio_is_an_error(golden, model):
    bare = model.encode(golden.observe("visual"))
    with pytest.raises(InternalError, match="without proprio"):
        distance(bare, bare, Objective.L2, 0.1)


def test_normalize_actions(golden, model):
    for name in ("actions", "past_actions"):
        assert torch.equal(model.normalize_actions(golden.given[f"{name}_raw"]), golden.given[name])


@pytest.mark.parametrize("frames", [1, 3])
def test_independent_contexts_share_one_unroll(golden, model, frames):
    context = model.encode(golden.observe(*(("visual", "proprio") if frames == 1 else ("visual3", "proprio3"))))
    history = None if frames == 1 else golden.given["past_actions"]
    batch = golden.given["actions"].shape[1]
    apart = Latents(context.visual.repeat(batch, 1, 1, 1), context.proprio.repeat(batch, 1, 1, 1))
    shared = join(model.unroll(context, golden.given["actions"], history))
    torch.testing.assert_close(
        join(model.unroll(apart, golden.given["actions"], history)).visual, shared.visual, rtol=0, atol=1e-5
    )


def test_every_key_is_accounted_for(golden):
    module = Jepa(golden.config())
    weights = {key: tensor for key, tensor in golden.weights.items() if key != "encoder.norm.bias"}
    weights["encoder.extra"] = torch.zeros(1)
    weights["encoder.norm.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as error:
        load_weights(module, weights)
    assert "1 missing: encoder.norm.bias" in str(error.value)
    assert "1 unexpected: encoder.extra" in str(error.value)
    assert "1 of another shape: encoder.norm.weight (3,) instead of (48,)" in str(error.value)
    load_weights(module, golden.weights)
