"""`hub:NAME` on a stand-in with upstream's surface, and on upstream itself where a checkout is given.

    JEPA_WMS_HUB_REPO=/path/to/jepa-wms pytest tests/test_hub.py

needs upstream's packages (`pip install 'worldforge-jepa[hub]'`) and its weights: downloaded, or read below JEPAWM_LOGS
where that is set.
"""

import copy
import importlib
import itertools
import logging
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import InternalError, InvalidArgumentError
from worldforge_jepa_client.spec import Objective
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Latents, ModelLoadError, Observation
from worldforge_jepa_server.models.native import NativeModel
from worldforge_jepa_server.models.official import LIMITS, build, official_weights
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.scoring import distance

STAND_IN = Path(__file__).parent / "upstream_standin"
UPSTREAM = os.environ.get("JEPA_WMS_HUB_REPO")
B, H, A, P = 2, 3, 10, 4
ENCODE, PREDICT, UNROLL, SCORE = 2e-5, 5e-5, 2e-4, 1e-5


def load(name, device="cpu", **options):
    return load_model(ModelSource("m", f"hub:{name}", {"repo": str(STAND_IN), **options}), device)


@pytest.fixture(scope="module", params=["stand-in", "upstream"])
def repo(request):
    if request.param == "stand-in":
        return {"repo": str(STAND_IN)}
    if UPSTREAM is None:
        pytest.skip("JEPA_WMS_HUB_REPO names no checkout of facebookresearch/jepa-wms")
    return {"repo": UPSTREAM, "pretrained": "false" if "JEPAWM_LOGS" in os.environ else "true"}


@pytest.fixture(scope="module", params=["jepa_wm_pusht", "dino_wm_pusht"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(repo, name):
    return load(name, **repo)


@pytest.fixture(scope="module")
def upstream(model):
    """The object that torch hub returned."""
    return model._model


def frames(count=1, height=20, width=31, seed=0):
    generator = torch.Generator().manual_seed(seed)
    visual = torch.randint(0, 256, (1, count, 3, height, width), dtype=torch.uint8, generator=generator)
    return Observation(visual, 100 * torch.randn(1, count, P, generator=generator))


def random_actions(steps=H, batch=B):
    return torch.randn(steps, batch, A, generator=torch.Generator().manual_seed(1))


def join(steps):
    steps = list(steps)
    return Latents(torch.cat([s.visual for s in steps], 1), torch.cat([s.proprio for s in steps], 1))


def near(ours, theirs, tolerance):
    for part in ("visual", "proprio"):
        actual, expected = getattr(ours, part), getattr(theirs, part)
        torch.testing.assert_close(actual, expected.reshape(actual.shape), rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def predicted(model):
    return join(model.unroll(model.encode(frames()), random_actions(), None))


@pytest.fixture(scope="module")
def rolled(upstream):
    """What upstream's own unroll says to the same."""
    context = upstream.encode({"visual": frames().visual, "proprio": frames().proprio})
    return upstream.unroll(context, act_suffix=random_actions())


def test_the_spec_is_what_is_published(model, name):
    spec, entry = model.spec, CATALOG[name]
    assert (spec.action_dim, spec.raw_action_dim, spec.frameskip, spec.proprio_dim) == (A, 2, 5, P)
    assert (spec.context_window, spec.objective, spec.proprio_weight) == (2, Objective.L2, 0.1)
    assert (spec.environment, spec.encoder, spec.planner) == ("pusht", "dinov2_vits14", entry.environment.planner)
    assert spec.normalization.action_mean == pytest.approx(entry.normalization.action_mean)
    assert spec.normalization.proprio_std == pytest.approx(entry.normalization.proprio_std, rel=1e-5)
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
        torch.cat([now.visual.expand(B, *now.visual.shape[1:]), predicted.visual[:, :1]], 1),
        torch.cat([now.proprio.expand(B, *now.proprio.shape[1:]), predicted.proprio[:, :1]], 1),
    )
    resumed = join(model.unroll(context, actions[1:], actions[:1]))
    torch.testing.assert_close(resumed.visual, predicted.visual[:, 1:], rtol=0, atol=1e-5)
    torch.testing.assert_close(resumed.proprio, predicted.proprio[:, 1:], rtol=0, atol=1e-5)


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
    expected = upstream.preprocessor.normalize_actions(raw.reshape(H, B, 5, 2)).reshape(H, B, A)
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


def test_what_upstream_raises_is_one_clear_error(model):
    with pytest.raises(InternalError, match=r"m\.encode raised \w+Error: ") as caught:
        model.encode(Observation(torch.zeros(1, 1, 4, 16, 16)))
    assert caught.value.reason == "MODEL_FAILED"


@pytest.mark.skipif(UPSTREAM is None, reason="JEPA_WMS_HUB_REPO names no checkout of facebookresearch/jepa-wms")
class TestAgainstUpstream:
    @pytest.fixture(autouse=True)
    def _only_upstream(self, repo):
        if repo["repo"] != UPSTREAM:
            pytest.skip("the stand-in has no objectives of its own, and no twin in native:NAME")

    @pytest.mark.parametrize(
        ("objective", "class_name"),
        [
            (Objective.L2, "ReprTargetDistMPCObjective"),
            (Objective.L1, "ReprTargetDistL1MPCObjective"),
            (Objective.COSINE, "ReprTargetCosMPCObjective"),
        ],
    )
    @pytest.mark.parametrize("weight", [0.1, 1.0, 0.0])
    def test_scores_are_those_of_upstreams_objectives(
        self, model, upstream, predicted, rolled, monkeypatch, objective, class_name, weight
    ):
        monkeypatch.syspath_prepend(UPSTREAM)
        module = importlib.import_module("evals.simu_env_planning.planning.planning.objectives")
        goal = frames(seed=5)
        target = upstream.encode({"visual": goal.visual, "proprio": goal.proprio})
        if weight == 0:
            target, rolled = target["visual"], rolled["visual"]
        expected = getattr(module, class_name)(cfg={}, target_enc=target, alpha=weight)(rolled, random_actions())
        torch.testing.assert_close(
            distance(predicted, model.encode(goal), objective, weight), expected, rtol=1e-5, atol=1e-9
        )

    @pytest.fixture
    def native(self, upstream, name):
        """Our own implementation with the weights of upstream's object."""
        inner = upstream.model
        parts = {part: getattr(inner, part) for part in ("predictor", "action_encoder", "proprio_encoder")}
        states = {part: module.state_dict() for part, module in parts.items() if module is not None}
        module = build(CATALOG[name], official_weights(states, inner.encoder.base_model.state_dict()))
        return NativeModel(module, name="n", source="test", digest="", device="cpu", limits=LIMITS)

    def test_native_agrees_within_the_golden_tolerances(self, model, native, predicted):
        near(native.encode(frames(2)), model.encode(frames(2)), ENCODE)
        rolled = join(native.unroll(native.encode(frames()), random_actions(), None))
        first = (Latents(frames_.visual[:, :1], frames_.proprio[:, :1]) for frames_ in (rolled, predicted))
        near(*first, PREDICT)
        goal = frames(seed=5)
        for objective, weight in itertools.product(Objective, (0.1, 1.0, 0.0)):
            ours = distance(rolled, native.encode(goal), objective, weight)
            theirs = distance(predicted, model.encode(goal), objective, weight)
            torch.testing.assert_close(ours, theirs, rtol=0, atol=SCORE)

    def test_native_unrolls_alike_from_one_frame_and_from_two(self, model, native, upstream, monkeypatch):
        """In float64: with random weights rounding to float32 alone moves upstream's own third frame by 2e-4."""
        for part in ("predictor", "action_encoder"):
            module = copy.deepcopy(getattr(upstream.model, part))
            monkeypatch.setattr(upstream.model, part, None if module is None else module.double())
        native.module.predictor.double()
        for count in (1, 2):
            context = model.encode(frames(count))
            context = Latents(context.visual.double(), context.proprio.double())
            flat = Latents(context.visual.flatten(2, 4), context.proprio)
            actions, history = random_actions().double(), random_actions(1, 1).double() - 1 if count == 2 else None
            near(join(native.unroll(flat, actions, history)), join(model.unroll(context, actions, history)), UNROLL)


def test_a_model_without_proprio_takes_bare_images():
    model = load("jepa_wm_droid")
    assert (model.spec.proprio, model.spec.proprio_weight, model.spec.action_dim) == (None, 0.0, 7)
    assert model.spec.planner.clip_high[-1] == 0.75
    *_, last = model.unroll(model.encode(Observation(frames().visual)), torch.ones(2, 1, 7), None)
    assert last.proprio is None


def test_a_pose_that_the_predictor_takes_but_does_not_give_is_moved_by_the_action():
    model = load("vjepa2_ac_oss")
    assert (model.spec.proprio_dim, model.spec.proprio_weight) == (7, 0.0)
    seen, actions = Observation(frames().visual, torch.ones(1, 1, 7)), torch.ones(3, B, 7)
    context = model._model.encode({"visual": seen.visual, "proprio": seen.proprio})
    expected = model._model.unroll(context, act_suffix=actions)
    predicted = join(model.unroll(model.encode(seen), actions, None))
    assert torch.equal(predicted.visual.transpose(0, 1), expected["visual"][1:])
    assert torch.equal(predicted.proprio.transpose(0, 1), expected["proprio"][1:])


def test_an_unpublished_name_is_known_by_what_its_object_says():
    spec = load("homemade").spec
    assert (spec.action_dim, spec.raw_action_dim, spec.frameskip, spec.proprio_dim) == (6, 2, 3, 4)
    assert (spec.environment, spec.planner, spec.proprio_weight) == ("", None, 0.1)


def test_heads_are_kept_where_asked_for():
    assert "image_head" in load("homemade", heads="true")._model.heads


def test_loading_leaves_the_process_as_it_was(repo, name, capfd, monkeypatch):
    for module in [key for key in sys.modules if key.split(".")[0] in ("hubconf", "app", "evals", "src")]:
        monkeypatch.delitem(sys.modules, module)  # so that their import side effects happen again
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    random.seed(3), np.random.seed(3), torch.manual_seed(3)

    def state():
        root = logging.getLogger()
        return (
            *(random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(), root.level),
            *(root.handlers[:], os.environ["CUDA_VISIBLE_DEVICES"], torch.backends.cudnn.benchmark),
            torch.hub._validate_not_a_forked_repo,
        )

    before = state()
    load(name, **repo)
    assert state() == before
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "needs_a_package",
            {},
            r"needs a Python package .*a_package_that_nobody_has.*pip install 'worldforge-jepa\[hub\]'",
        ),
        ("offline", {}, r"downloading failed .*no route to host.*repo=FOLDER, put encoder weights into .*checkpoints"),
        ("jepa_wm_pusht", {"pretrained": "false"}, r"no file .*jepa-latest\.pth\.tar: put the weights there"),
        ("jepa_wm_wall", {}, "action_dim 6 and proprio_dim 4; the published jepa_wm_wall has 10 and 2"),
        ("unheard_of", {}, "loading from .* failed with .*unheard_of"),
        ("empty", {}, r"expected a model or \(model, preprocessor\), got 0 objects"),
        ("no_model", {}, "a Linear has neither encode and unroll nor a method to score with"),
        ("exiting", {}, "SystemExit: upstream gave up"),
        ("homemade", {"color": "blue"}, "hub takes only the options .*, got color"),
        ("homemade", {"pretrained": "perhaps"}, "pretrained=perhaps: expected true or false"),
        ("homemade", {"repo": "somebody/models"}, "add trust_repo=true if you trust it"),
        ("homemade", {"repo": "/nowhere", "source": "local"}, "has no hubconf.py"),
    ],
)
def test_each_failure_is_one_clear_error(name, options, message, monkeypatch):
    monkeypatch.delenv("JEPAWM_LOGS", raising=False)
    with pytest.raises(ModelLoadError, match=f"model m: .*{message}"):
        load(name, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_that_is_not_there_is_an_error_and_no_silent_cpu():
    with pytest.raises(ModelLoadError, match="CUDA"):
        load("jepa_wm_pusht", device="cuda")


def test_served_like_any_other(start_server):
    server = start_server("--model", f"pusht=hub:jepa_wm_pusht,repo={STAND_IN}")
    with Client(server.target) as client:
        scene = {"visual": frames().visual.numpy(), "proprio": frames().proprio.numpy()}
        result = client.score(observation=scene, goal=scene, action_candidates=np.ones((1, B, H, A), np.float32))
        assert result.scores.shape == (B,)
        assert client.model().planner == CATALOG["jepa_wm_pusht"].environment.planner
        bare = {"visual": scene["visual"]}
        with pytest.raises(InvalidArgumentError, match=r"proprio: is missing; model pusht needs raw proprio"):
            client.score(observation=bare, goal=bare, action_candidates=np.ones((1, 1, 1, A), np.float32))
    assert server.terminate() == (0, "")
