"""Models of stable-worldmodel behind `get_cost`: both contracts on stand-ins, and its own code where it is installed.

`pip install stable-worldmodel torchvision` runs the latter; a checkout on `PYTHONPATH` runs its newest code.
"""

import importlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from examples.stable_worldmodel.server_cost import ServerCost
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.local import LocalClient
from worldforge_jepa_server.models.external.stable_worldmodel import StableWorldModel
from worldforge_jepa_server.models.registry import load_model

S, H, A, T, SIDE = 4, 3, 10, 2, 64
CANDIDATES = torch.randn(1, S, H, A, generator=torch.Generator().manual_seed(0))
HISTORY = torch.randn(1, S, T - 1, A, generator=torch.Generator().manual_seed(1))
INFO = {"pixels": torch.ones(1, S, T, 3, 8, 8), "goal": torch.ones(1, S, 1, 3, 8, 8), "action_history": HISTORY}
STATISTICS = {
    **{"action_mean": [0.1, 0.2], "action_std": [0.5, 0.4]},
    **{"proprio_mean": [1.0, 2.0, 3.0, 4.0], "proprio_std": [2.0, 2.0, 2.0, 2.0]},
}


class Later(nn.Module):
    """A model without a cost of its own: it rolls out, and remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.action_encoder = nn.Module()
        self.action_encoder.patch_embed = nn.Conv1d(A, 8, 1)
        self.given = []

    def rollout(self, info, candidates):
        self.given.append((info, candidates))
        return candidates.sum((2, 3))


class Older(Later):
    """A model of release 0.1.1."""

    def get_cost(self, info, candidates):
        return self.rollout(info, candidates)


class TinyEncoder(nn.Module):
    """A vision transformer's interface on one convolution."""

    def __init__(self, dim):
        super().__init__()
        self.patches = nn.Conv2d(3, dim, 16, 16)

    def forward(self, pixels, interpolate_pos_encoding=True):
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        return SimpleNamespace(last_hidden_state=torch.cat([tokens.mean(1, keepdim=True), tokens], 1))


def test_release_0_1_1_gets_past_actions_before_the_candidates():
    StableWorldModel(model := Older()).get_cost(INFO, CANDIDATES)
    info, candidates = model.given[0]
    assert torch.equal(candidates, torch.cat([HISTORY, CANDIDATES], 2))
    assert "action_history" not in info


def test_later_models_get_past_actions_in_info(monkeypatch):
    objectives = SimpleNamespace(
        GoalMSE=lambda: "goal",
        ShootingCostEvaluator=lambda model, objective: SimpleNamespace(get_cost=model.rollout, objective=objective),
    )
    monkeypatch.setitem(sys.modules, "stable_worldmodel.planning", objectives)
    adapter = StableWorldModel(model := Later())
    adapter.get_cost(INFO, CANDIDATES)
    info, candidates = model.given[0]
    assert torch.equal(candidates, CANDIDATES)
    assert torch.equal(info["action_history"], HISTORY)
    assert adapter.costs.objective == "goal"


def test_each_call_has_an_id_of_its_own_so_that_no_scene_is_taken_for_another():
    adapter = StableWorldModel(model := Older())
    for _ in range(2):
        adapter.get_cost(INFO, CANDIDATES)
    first, second = (info["id"][:, 0] for info, _ in model.given)
    assert not torch.equal(first, second)


def test_in_bfloat16_inputs_and_weights_are_and_costs_are_not():
    adapter = StableWorldModel(model := Older(), bf16=True)
    assert adapter.get_cost(INFO, CANDIDATES).dtype == torch.float32
    info, candidates = model.given[0]
    assert {info["pixels"].dtype, candidates.dtype, *(p.dtype for p in model.parameters())} == {torch.bfloat16}


def test_a_module_that_takes_no_actions_is_named():
    with pytest.raises(ValueError, match="a Linear has no action encoder; expected an LeWM, PLDM or PreJEPA"):
        linear = nn.Linear(1, 1)
        linear.get_cost = print
        StableWorldModel(linear)


def configuration(kind):
    """The configuration that stable-worldmodel writes beside a run's weights."""
    encoder, wm = {"_target_": f"{__name__}.TinyEncoder", "dim": 32}, "stable_worldmodel.wm"
    sizes = {"num_frames": 3, "depth": 1, "heads": 2, "mlp_dim": 32, "dim_head": 16}
    if kind == "prejepa":
        embedder = f"{wm}.prejepa.module.Embedder"
        extra = {"proprio": {"_target_": embedder, "in_chans": 4}, "action": {"_target_": embedder, "in_chans": A}}
        predictor = {"_target_": f"{wm}.prejepa.module.CausalPredictor", "num_patches": 16, "dim": 52, **sizes}
        rest = {"predictor": predictor, "extra_encoders": {"_target_": "torch.nn.ModuleDict", "modules": extra}}
        return {"_target_": f"{wm}.prejepa.PreJEPA", "encoder": encoder, **rest}
    predictor = {"_target_": f"{wm}.{kind}.module.Predictor", "input_dim": 32, "hidden_dim": 32, **sizes}
    actions = {"_target_": f"{wm}.{kind}.module.Embedder", "input_dim": A, "emb_dim": 32}
    name = {"lewm": "LeWM", "pldm": "PLDM"}[kind]
    return {
        "_target_": f"{wm}.{kind}.{name}",
        **{"encoder": encoder, "predictor": predictor, "action_encoder": actions},
    }


@pytest.fixture(params=["lewm", "pldm", "prejepa"])
def run(request, tmp_path):
    """A run with random weights in stable-worldmodel's format."""
    pytest.importorskip("torchvision")
    hydra = pytest.importorskip("hydra.utils")
    pytest.importorskip("stable_worldmodel")
    model = hydra.instantiate(configuration(request.param))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():  # its own start leaves actions without effect
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text(json.dumps(configuration(request.param)))
    (tmp_path / "statistics.json").write_text(json.dumps(STATISTICS))
    return tmp_path


@pytest.fixture
def model(run):
    source = "python:worldforge_jepa_server.models.external.stable_worldmodel:load"
    options = {"run": str(run), "statistics": str(run / "statistics.json"), "image_size": str(SIDE)}
    return load_model(ModelSource("m", source, options), "cpu")


def scene(seed):
    """As an environment gives it to a policy: frames channels last."""
    rng = np.random.default_rng(seed)
    return {
        "pixels": rng.integers(0, 256, (1, T, 96, 96, 3), np.uint8),
        "goal": rng.integers(0, 256, (1, 1, 96, 96, 3), np.uint8),
        "proprio": rng.normal(size=(1, T, 4)).astype(np.float32),
        "goal_proprio": rng.normal(size=(1, 1, 4)).astype(np.float32),
    }


def prepared(raw, samples):
    """As stable-worldmodel's policy prepares a scene and its solver expands it."""
    from torchvision.transforms import v2

    imagenet = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    steps = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(**imagenet), v2.Resize(size=SIDE)])
    mean, std = (np.float32(STATISTICS[f"proprio_{part}"]) for part in ("mean", "std"))
    info = {key: steps(torch.from_numpy(raw[key]).movedim(-1, -3)) for key in ("pixels", "goal")}
    info |= {key: torch.from_numpy((raw[key] - mean) / std) for key in ("proprio", "goal_proprio")}
    info |= {key: torch.zeros(1, 1, 1) for key in ("action", "id", "step_idx")}
    return {key: value[:, None].expand(1, samples, *value.shape[1:]) for key, value in info.items()}


@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_the_costs_that_its_own_policy_would_see(run, model, seed):
    from stable_worldmodel.wm.utils import load_pretrained

    own = load_pretrained(str(run)).eval()
    info, raw, candidates = prepared(scene(seed), S), scene(seed), CANDIDATES
    if hasattr(own, "get_cost"):
        candidates = torch.cat([HISTORY[:, :1].expand_as(HISTORY), CANDIDATES], 2)
    else:
        own, info["action_history"] = StableWorldModel(own).costs, HISTORY[:, :1].expand_as(HISTORY)
    with torch.no_grad():
        expected = own.get_cost(info, candidates)[0]
    with LocalClient(model) as client:
        for _ in range(2):  # PreJEPA keeps scenes: the second call is another
            costs = ServerCost(client).get_cost(expanded(raw, model), CANDIDATES)[0]
    np.testing.assert_allclose(costs, expected, rtol=1e-5)
    assert costs.std() > 0


def expanded(raw, model, samples=S):
    keys = raw if model.spec.proprio else ("pixels", "goal")
    info = {key: torch.from_numpy(raw[key])[:, None].expand(1, samples, *raw[key].shape[1:]) for key in keys}
    return info | {"action_history": HISTORY[:, :1].expand(1, samples, T - 1, A)}


def solvers():
    try:
        return importlib.import_module("stable_worldmodel.solver")  # release 0.1.1
    except ImportError:
        return importlib.import_module("stable_worldmodel.planning")


@pytest.mark.parametrize("name", ["CEMSolver", "ICEMSolver", "MPPISolver"])
def test_its_solvers_plan_through_a_client_and_lower_the_cost(model, name):
    space = pytest.importorskip("gymnasium").spaces.Box(-1, 1, (1, A // 5), np.float32)
    config = SimpleNamespace(horizon=H, receding_horizon=H, action_block=5, history_len=T)
    raw = scene(0)
    info = {key: torch.from_numpy(value) for key, value in raw.items() if model.spec.proprio or "proprio" not in key}
    info["action_history"] = HISTORY[:, 0]
    with LocalClient(model) as client:
        solver = getattr(solvers(), name)(ServerCost(client), num_samples=32, n_steps=4, topk=4)
        solver.configure(action_space=space, n_envs=1, config=config)
        planned = solver.solve(info)["actions"]
        both = torch.stack([planned[0], torch.zeros(H, A)])[None]
        costs = ServerCost(client).get_cost(expanded(raw, model, 2), both)
    assert costs[0, 0] < costs[0, 1]
