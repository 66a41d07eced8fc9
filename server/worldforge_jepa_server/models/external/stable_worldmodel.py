"""Serve models of stable-worldmodel, LeWorldModel among them: `python:...external.stable_worldmodel:load,run=RUN`.

Letters: S samples, H horizon, A packed action dim, T context frames.
"""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as stable-worldmodel's policies use


class StableWorldModel(nn.Module):
    """A world model of stable-worldmodel as its own policy and solvers call it.

    Args:
        model: an LeWM, PLDM or PreJEPA, of release 0.1.1 or later.
        bf16: bfloat16 weights and inputs under autocast, as stable-worldmodel evaluates with `bf16`.
        image_size: the side of its frames in pixels, to publish.

    Raises:
        ValueError: a model with no action encoder.
    """

    def __init__(self, model: nn.Module, bf16: bool = False, image_size: int = 0) -> None:
        super().__init__()
        self.past_in_candidates = hasattr(model, "get_cost")  # release 0.1.1
        self.costs: Any = model if self.past_in_candidates else _evaluator(model)
        self.dtype = torch.bfloat16 if bf16 else torch.float32
        extra: dict[str, Any] = dict(getattr(model, "extra_encoders", {}))
        encoder = getattr(model, "action_encoder", None) or extra.get("action")
        if encoder is None:
            raise ValueError(f"a {type(model).__name__} has no action encoder; expected an LeWM, PLDM or PreJEPA")
        self.action_dim: int = encoder.patch_embed.in_channels
        self.proprio_dim: int = extra["proprio"].patch_embed.in_channels if "proprio" in extra else 0
        self.ctxt_window = getattr(model, "history_size", getattr(getattr(model, "predictor", None), "num_frames", 1))
        self.img_size = image_size
        self._calls = itertools.count()
        self.to(self.dtype)

    def get_cost(self, info: Mapping[str, Any], candidates: Tensor) -> Tensor:
        """Return costs float32[1, S], lower is better, of strictly future candidates [1, S, H, A].

        `info` has `pixels`, `goal`, `action` and, if T is above 1, `action_history` [1, S, T-1, A]; tensors are
        [1, S, T, ...]. It gets an `id` of its own, by which PreJEPA keeps the scene of its last call.
        """
        scene = {key: value.to(self.dtype) for key, value in info.items() if isinstance(value, Tensor)}
        candidates = candidates.to(self.dtype)
        call = torch.full((1, candidates.shape[1], 1), next(self._calls), device=candidates.device)
        scene |= {"id": call, "step_idx": call}
        if self.past_in_candidates and "action_history" in scene:
            candidates = torch.cat([scene.pop("action_history"), candidates], dim=2)
        with torch.autocast(candidates.device.type, torch.bfloat16, enabled=self.dtype is torch.bfloat16):
            costs: Tensor = self.costs.get_cost(scene, candidates)
        return costs.float()


def load(
    run: str, device: str, statistics: str = "", image_size: str = "224", bf16: str = "false", cache_dir: str = ""
) -> tuple[StableWorldModel, SimpleNamespace]:
    """Load a run by stable-worldmodel's `load_pretrained`, with the preprocessor that its policy would have.

    Args:
        run: what `load_pretrained` takes: a folder or `.pt` file, absolute or below its cache, or a Hugging Face name.
        device: where to put it.
        statistics: a JSON file of the policy's scalers, `NAME_mean` and `NAME_std` of `action`, `proprio`, ...
        image_size: the shorter side that frames are resized to.
        bf16: "true" or "false", see `StableWorldModel`.
        cache_dir: stable-worldmodel's cache; by default its own.

    Raises:
        ValueError: an option cannot be read, or the run is no world model.
    """
    if bf16 not in ("true", "false"):
        raise ValueError(f"bf16={bf16}: expected true or false")
    pretrained = importlib.import_module("stable_worldmodel.wm.utils").load_pretrained
    model = StableWorldModel(pretrained(run, cache_dir or None), bf16 == "true", int(image_size)).to(device)
    moments = json.loads(Path(statistics).read_text()) if statistics else {}
    if not model.proprio_dim:  # it takes no proprio, whatever its policy scales
        moments = {key: value for key, value in moments.items() if not key.startswith("proprio_")}
    return model, SimpleNamespace(transform=_transform(int(image_size)), **moments)


def _transform(size: int) -> Any:
    """Return the transform of stable-worldmodel's evaluation, for frames [B, T, 3, height, width] in 0..255."""
    v2 = importlib.import_module("torchvision.transforms.v2")
    steps = v2.Compose([v2.Normalize(mean=_MEAN, std=_STD), v2.Resize(size=size)])
    return lambda frames: steps(frames / 255)


def _evaluator(model: nn.Module) -> Any:
    """Return the model with the goal's squared error as cost, for releases whose models have none of their own."""
    planning = importlib.import_module("stable_worldmodel.planning")
    sources = [key for key in getattr(model, "extra_encoders", None) or () if key != "action"]
    if not hasattr(model, "extra_encoders"):
        return planning.ShootingCostEvaluator(model, planning.GoalMSE())
    terms = [planning.GoalMSE(f"predicted_{key}_emb", f"{key}_goal_emb", "mean") for key in (*sources, "pixels")]
    return planning.ShootingCostEvaluator(model, planning.WeightedSum([(1.0, term) for term in terms]))
