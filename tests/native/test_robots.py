"""The four models for DROID are upstream's: what its own classes computed at reduced sizes is reproduced."""

import json

import pytest
import torch

from tests.native.golden_robots import KEYS, OUTPUTS, ROBOTS, H, RobotGolden, S, T, actions, expand, pose_moves
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Latents
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.predictors.pose import move_pose
from worldforge_jepa_server.models.native.weights.architectures import model_config
from worldforge_jepa_server.models.native.weights.key_names import official_weights

TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=ROBOTS)
def golden(request) -> RobotGolden:
    return RobotGolden(request.param)


@pytest.fixture(scope="module")
def model(golden):
    return golden.model()


def join(steps) -> Latents:
    """Predicted frames [B, 1, ...] as upstream stacks them, time first."""
    steps = list(steps)
    proprio = None if steps[0].proprio is None else torch.stack([step.proprio[:, 0] for step in steps])
    return Latents(torch.stack([step.visual[:, 0] for step in steps]), proprio)


@pytest.mark.parametrize(("name", "count"), [("now", 1), ("goal", 1), ("past", T)])
def test_encodings_are_upstreams(golden, model, name, count):
    golden.close_latents(model.encode(golden.observe(name, count)), name, TOLERANCE)


def test_one_call_of_the_predictor_is_upstreams_for_every_frame(golden, model):
    latents = model.encode(golden.observe("past", T))
    taken = torch.cat([actions("history", T - 1, 1), actions("candidates", H, S)[:1, :1]]).transpose(0, 1)
    predictor = model.module.predictor
    with torch.inference_mode():
        tokens = predictor.embed(latents)
        for end in range(1, T + 1):
            predicted, _ = predictor(tokens[:, :end], taken[:, :end])
            visual = predictor.project(predicted, latents[end - 1 : end], taken[:, end - 1]).visual
            expected = golden.expected["predictor_visual"][:, end - 1].reshape(visual.shape)
            torch.testing.assert_close(visual, expected, rtol=0, atol=TOLERANCE)


def test_a_rollout_from_one_frame_is_upstreams(golden, model):
    context = model.encode(golden.observe("now"))
    golden.close_latents(join(model.unroll(context, actions("candidates", H, S), None)), "unroll", TOLERANCE)


@pytest.mark.parametrize("window", [2, 3])
def test_a_rollout_from_several_frames_is_upstreams(golden, window):
    model = golden.model(window)
    context = model.encode(golden.observe("past", T))
    unrolled = join(model.unroll(context, actions("candidates", H, S), actions("history", T - 1, 1)))
    golden.close_latents(unrolled, f"past_unroll_{window}", TOLERANCE)


@pytest.mark.parametrize("objective", Objective)
def test_scores_are_upstreams(golden, model, objective):
    context, goal = (model.encode(golden.observe(name)) for name in ("now", "goal"))
    *_, last = model.unroll(context, actions("candidates", H, S), None)
    for weight in (0.0, 0.1, 1.0) if CATALOG[golden.name].proprio_dim else (0.0,):
        golden.close(distance(last, goal, objective, weight), f"scores_{objective.value}_{weight}", TOLERANCE)


def test_actions_matter_to_the_recorded_rollouts(golden):
    one, other = golden.expected["unroll_visual"][-1]
    assert (one - other).abs().max() > 100 * TOLERANCE


def test_cached_frames_need_not_be_given_again(golden, model):
    predictor, candidates = model.module.predictor, S
    taken = actions("history", T, 1).transpose(0, 1).repeat(candidates, 1, 1)
    with torch.inference_mode():
        tokens = predictor.embed(model.encode(golden.observe("past", T)))
        whole, _ = predictor(tokens.repeat(candidates, 1, 1, 1), taken)
        _, cache = predictor(tokens[:, :2], taken[:1, :2])
        rest, _ = predictor(tokens[:, 2:], taken[:, 2:], cache)
    torch.testing.assert_close(rest, whole, rtol=0, atol=TOLERANCE)


def test_poses_move_as_upstreams_do_also_where_angles_lock():
    from safetensors import safe_open

    with safe_open(OUTPUTS, framework="pt") as file:
        expected = file.get_tensor("pose.moved")
    moved = move_pose(*pose_moves())
    torch.testing.assert_close(moved, expected, rtol=0, atol=TOLERANCE)
    assert (moved[..., 6] >= 0).all()
    assert (moved[..., 6] <= 1).all()


@pytest.mark.parametrize("name", ROBOTS)
def test_every_key_of_a_full_size_checkpoint_is_accounted_for(name):
    patterns = json.loads(KEYS.read_text())[name]["full"]
    with torch.device("meta"):
        parts = {
            part: {f"module.{key}": torch.empty(shape) for key, shape in expand(keys).items()}
            for part, keys in patterns.items()
        }
        module = Jepa(model_config(CATALOG[name]))
        encoder = parts.pop("encoder")
        if CATALOG[name].family == "vjepa2_ac":
            encoder = {"encoder": {key.replace("module.", "module.backbone."): value for key, value in encoder.items()}}
        weights = official_weights(parts | {"epoch": 64, "opt": {}}, encoder)
    expected = {key: tensor.shape for key, tensor in module.state_dict().items()}
    assert {key: tensor.shape for key, tensor in weights.items()} == expected


def test_the_masked_key_bias_has_no_effect():
    golden = RobotGolden("jepa_wm_droid")
    biases = [tensor for key, tensor in golden.weights.items() if key.startswith("encoder") and "qkv.bias" in key]
    assert biases
    for bias in biases:
        width = len(bias) // 3
        assert not bias[width : 2 * width].any()
        assert bias[:width].any()


def test_published_planner_settings_are_upstreams():
    for name in ROBOTS:
        entry = CATALOG[name]
        planner = entry.environment.planner
        assert (planner.samples, planner.elites, planner.iterations, planner.horizon) == (300, 10, 15, 3)
        assert (planner.initial_std, planner.high) == (0.1, (0.1,) * 6 + (0.75,))
        assert (entry.proprio_weight, entry.objective, entry.context_window) == (0.0, Objective.L2, 2)
