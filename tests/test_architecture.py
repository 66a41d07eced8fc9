"""The architecture is upstream's: random weights and upstream's own outputs, reproduced."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from worldforge_jepa_client.spec import Limits, Normalization, Objective
from worldforge_jepa_server.models.checkpoint import CheckpointError, load_weights
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.encoder import EncoderConfig
from worldforge_jepa_server.models.native import Jepa, ModelConfig, NativeModel
from worldforge_jepa_server.models.predictor import PredictorConfig
from worldforge_jepa_server.models.transform import to_pixels
from worldforge_jepa_server.scoring import distance

DATA = Path(__file__).parent / "data"
FACTS = json.loads((DATA / "adaln_tiny.json").read_text())
GOLDEN = load_file(DATA / "adaln_tiny.safetensors")
WEIGHTS = {key: tensor for key, tensor in GOLDEN.items() if not key.startswith(("in.", "out."))}

PIXELS, ENCODE, PREDICT, UNROLL, SCORE = FACTS["suggested_tolerance"]["absolute, fp32"].values()


def golden_config(window: int = FACTS["ctxt_window"]) -> ModelConfig:
    encoder, predictor, stats = FACTS["encoder"], FACTS["predictor"], FACTS["preprocessor"]
    return ModelConfig(
        EncoderConfig(
            image_size=FACTS["transform"]["img_size"],
            patch_size=encoder["patch"],
            position_grid=encoder["pos_embed"]["trained_grid"],
            embed_dim=encoder["embed_dim"],
            depth=encoder["depth"],
            heads=encoder["heads"],
            mlp_ratio=encoder["mlp_hidden"] // encoder["embed_dim"],
            norm_eps=encoder["layernorm_eps"],
            position_offset=encoder["pos_embed"]["offset"],
        ),
        PredictorConfig(
            latent_dim=predictor["embed_dim"],
            visual_dim=predictor["predictor_embed_dim"],
            proprio_embed_dim=predictor["proprio_emb_dim"],
            action_dim=FACTS["action_dim"],
            grid=FACTS["grid_size"],
            depth=predictor["depth"],
            heads=predictor["heads"],
            mlp_ratio=predictor["mlp_hidden"] // predictor["width"],
            norm_eps=predictor["layernorm_eps"],
            rope_base=predictor["rope"]["base"],
        ),
        Normalization(*(tuple(stats[key]) for key in ("action_mean", "action_std", "proprio_mean", "proprio_std"))),
        frameskip=FACTS["frameskip"],
        context_window=window,
        pixel_mean=tuple(FACTS["transform"]["mean"]),
        pixel_std=tuple(FACTS["transform"]["std"]),
    )


def golden_model(window: int = FACTS["ctxt_window"]) -> NativeModel:
    module = Jepa(golden_config(window))
    load_weights(module, WEIGHTS, unused=("encoder.mask_token",))
    return NativeModel(module, name="golden", source="test", digest="", device="cpu", limits=Limits(100, 10, 4))


@pytest.fixture(scope="module")
def model() -> NativeModel:
    return golden_model()


def close(actual: torch.Tensor, name: str, tolerance: float) -> None:
    expected = GOLDEN[f"out.{name}"]
    torch.testing.assert_close(actual.reshape(expected.shape), expected, rtol=0, atol=tolerance)


def observe(name: str, proprio: str | None = None) -> Observation:
    return Observation(GOLDEN[f"in.{name}"], GOLDEN[f"in.{proprio}"] if proprio else None)


def golden_latents(name: str) -> Latents:
    return Latents(GOLDEN[f"out.{name}_visual"].flatten(2, 4), GOLDEN[f"out.{name}_proprio"])


def join(frames) -> Latents:
    """Frames [B, 1, ...] as upstream stacks them, time first."""
    frames = list(frames)
    return Latents(
        torch.stack([frame.visual[:, 0] for frame in frames]),
        torch.stack([frame.proprio[:, 0] for frame in frames]),
    )


@pytest.mark.parametrize("suffix", ["", "_tall"])
def test_pixels(suffix):
    config = golden_config()
    frames = GOLDEN[f"in.visual{suffix}"][0]
    for given in (frames, frames.float()):
        pixels = to_pixels(given, config.encoder.image_size, config.pixel_mean, config.pixel_std)
        close(pixels, f"pixels{suffix}", PIXELS)


def test_position_embedding_and_embedded_tokens(model):
    encoder = model.module.encoder
    close(encoder.position_embedding(), "pos_embed_used", PIXELS)
    close(encoder.embed(GOLDEN["out.pixels"][0]), "enc_tokens_embedded", ENCODE)


@pytest.mark.parametrize(
    ("visual", "proprio", "output"),
    [("visual", "proprio", "z"), ("goal_visual", "goal_proprio", "goal"), ("visual3", "proprio3", "z3")],
)
def test_encode(model, visual, proprio, output):
    latents = model.encode(observe(visual, proprio))
    close(latents.visual, f"{output}_visual", ENCODE)
    close(latents.proprio, f"{output}_proprio", ENCODE)


@pytest.mark.parametrize("case", ["tall", "small", "exact", "flat"])
def test_encode_any_size_without_proprio(model, case):
    latents = model.encode(observe(f"visual_{case}"))
    assert latents.proprio is None
    close(latents.visual, f"z_visual_{case}", ENCODE)


@pytest.mark.parametrize("case", ["visual", "visual_tall", "visual_small", "visual_exact"])
def test_bytes_and_floats_give_the_same_latents(model, case):
    frames = GOLDEN[f"in.{case}"]
    assert torch.equal(model.encode(Observation(frames)).visual, model.encode(Observation(frames.float())).visual)


def predict_all(model: NativeModel, latents: Latents, actions: torch.Tensor) -> Latents:
    predictor = model.module.predictor
    with torch.inference_mode():
        return predictor.project(predictor(predictor.embed(latents), actions), latents)


def test_one_predictor_call_over_four_frames(model):
    past, now = golden_latents("z3"), golden_latents("z")
    frames = Latents(torch.cat([past.visual, now.visual], 1), torch.cat([past.proprio, now.proprio], 1))
    predicted = predict_all(model, frames, GOLDEN["in.actions"][:4, 0][None])
    close(predicted.visual, "pred4_visual", PREDICT)
    close(predicted.proprio, "pred4_proprio", PREDICT)


def test_one_predictor_call_on_zeros(model):
    now = golden_latents("z")
    zeros = Latents(torch.zeros_like(now.visual.repeat(1, 2, 1, 1)), torch.zeros_like(now.proprio.repeat(1, 2, 1, 1)))
    predicted = predict_all(model, zeros, GOLDEN["in.actions"][:2, 0][None])
    close(predicted.visual, "pred_zero_visual", PREDICT)
    close(predicted.proprio, "pred_zero_proprio", PREDICT)


def test_the_last_frame_alone_equals_the_last_of_all(model):
    predictor = model.module.predictor
    tokens = predictor.embed(golden_latents("z3"))
    actions = GOLDEN["in.actions"][:3, 0][None]
    torch.testing.assert_close(
        predictor(tokens, actions, last_only=True), predictor(tokens, actions)[:, -1:], rtol=0, atol=1e-5
    )


def test_unroll(model):
    context = model.encode(observe("visual", "proprio"))
    predicted = join(model.unroll(context, GOLDEN["in.actions"], None))
    close(torch.cat([GOLDEN["out.unroll_visual"][:1].flatten(2, 4), predicted.visual]), "unroll_visual", UNROLL)
    close(torch.cat([GOLDEN["out.unroll_proprio"][:1], predicted.proprio]), "unroll_proprio", UNROLL)


@pytest.mark.parametrize(("window", "output"), [(2, "ctx3"), (3, "ctx3_window3")])
def test_unroll_and_score_from_three_frames_and_the_actions_between(window, output):
    model = golden_model(window)
    context = model.encode(observe("visual3", "proprio3"))
    frames = list(model.unroll(context, GOLDEN["in.actions"], GOLDEN["in.past_actions"]))
    predicted = join(frames)
    for part in ("visual", "proprio"):
        expected = GOLDEN[f"out.{output}_unroll_{part}"][3:]
        actual = getattr(predicted, part).reshape(expected.shape)
        torch.testing.assert_close(actual, expected, rtol=0, atol=UNROLL)
    goal = model.encode(observe("goal_visual", "goal_proprio"))
    close(distance(frames[-1], goal, Objective.L2, 0.1), f"{output}_scores_l2_alpha0.1", SCORE)


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize(("weight", "suffix"), [(0.1, "alpha0.1"), (1.0, "alpha1"), (0.0, "visual_only")])
def test_scores(model, objective, weight, suffix):
    context = model.encode(observe("visual", "proprio"))
    goal = model.encode(observe("goal_visual", "goal_proprio"))
    *_, last = model.unroll(context, GOLDEN["in.actions"], None)
    name = "cos" if objective is Objective.COSINE else objective.value
    close(distance(last, goal, objective, weight), f"scores_{name}_{suffix}", SCORE)


def test_a_score_compares_the_last_frames_only(model):
    frames = model.encode(observe("visual3", "proprio3"))
    goal = model.encode(observe("goal_visual", "goal_proprio"))
    for weight in (0.0, 0.1):
        expected = distance(frames.last(), goal, Objective.L2, weight)
        assert torch.equal(distance(frames, goal, Objective.L2, weight), expected)
        assert torch.equal(distance(goal, frames, Objective.L2, weight), expected)


def test_a_proprio_weight_without_proprio_is_an_error(model):
    bare = model.encode(observe("visual"))
    with pytest.raises(ValueError, match="no proprio"):
        distance(bare, bare, Objective.L2, 0.1)


def test_normalize_actions(model):
    for name in ("actions", "past_actions"):
        assert torch.equal(model.normalize_actions(GOLDEN[f"in.{name}_raw"]), GOLDEN[f"in.{name}"])


def test_independent_contexts_share_one_unroll(model):
    context = model.encode(observe("visual", "proprio"))
    batch = GOLDEN["in.actions"].shape[1]
    apart = Latents(context.visual.repeat(batch, 1, 1, 1), context.proprio.repeat(batch, 1, 1, 1))
    shared = join(model.unroll(context, GOLDEN["in.actions"], None))
    torch.testing.assert_close(
        join(model.unroll(apart, GOLDEN["in.actions"], None)).visual, shared.visual, rtol=0, atol=1e-5
    )


def test_every_key_is_accounted_for():
    module = Jepa(golden_config())
    weights = {key: tensor for key, tensor in WEIGHTS.items() if key != "encoder.norm.bias"}
    weights["encoder.extra"] = torch.zeros(1)
    weights["encoder.norm.weight"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as error:
        load_weights(module, weights, unused=("encoder.mask_token",))
    assert "missing encoder.norm.bias" in str(error.value)
    assert "unexpected encoder.extra" in str(error.value)
    assert "encoder.norm.weight has shape (3,), expected (48,)" in str(error.value)
    load_weights(module, WEIGHTS, unused=("encoder.mask_token",))
