"""Keys and shapes of upstream's modules at full size, for `tests/native/upstream_golden.py`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest import mock

import torch
import yaml

UPSTREAM = Path(os.environ.get("JEPA_WMS_HUB_REPO", "."))
PARTS = ("predictor", "action_encoder", "proprio_encoder", "encoder")


def configuration(name: str) -> dict:
    """Upstream's own, of its planning evaluation."""
    import hubconf

    return yaml.safe_load((UPSTREAM / hubconf._MODEL_CONFIGS[name][0]).read_text())["model_kwargs"]


def full_size(name: str) -> dict[str, dict[str, list[int]]]:
    """Keys and shapes of upstream's modules at full size, built on the meta device."""
    from app.vjepa_wm import utils
    from src.models import vision_transformer_v2

    given, family = configuration(name)["pretrain_kwargs"], name.rpartition("_")[0]
    linspace = torch.linspace
    with torch.device("meta"), mock.patch("torch.linspace", lambda *a, **k: linspace(*a, **k | {"device": "cpu"})):
        if family == "dino_wm":
            from dinov2.hub.backbones import dinov2_vits14

            encoder = dinov2_vits14(pretrained=False)
        elif family == "jepa_wm":
            from dinov3.hub.backbones import dinov3_vitl16

            encoder = dinov3_vitl16(pretrained=False)
        else:
            encoder = vision_transformer_v2.vit_giant_xformers(img_size=256, num_frames=4, use_rope=True)
        sections = ("visual_encoder", "action_encoder", "proprio_encoder", "predictor")
        flat = {key: value for section in sections for key, value in given[section].items()}
        flat |= {"action_conditioning": given["action_conditioning"], "proprio_encoding": given["proprio_encoding"]}
        flat |= {"enc_type": "dino", "num_frames_pred": 4, "img_size": encoder.patch_size * 16, "action_dim": 7}
        has_proprio = bool(flat["proprio_tokens"] or flat["proprio_emb_dim"])
        flat |= {"use_proprio": has_proprio, "proprio_dim": 7 if has_proprio else None}
        with mock.patch.object(utils, "DinoEncoder", lambda **_: encoder):
            predictor, _, action_encoder, proprio_encoder = utils.init_video_model(torch.device("meta"), **flat)
    modules = dict(zip(PARTS, (predictor, action_encoder, proprio_encoder, encoder), strict=True))
    return {part: _patterns(module.state_dict()) for part, module in modules.items() if module is not None}


def _patterns(state: dict[str, torch.Tensor]) -> dict[str, list[int]]:
    """As `golden_robots.expand` reads them."""
    counts: dict[str, int] = {}
    shapes = {}
    for key, tensor in state.items():
        index = re.search(r"(?<=\.)\d+(?=\.)", key) if re.search(r"blocks|layers", key) else None
        pattern = key if index is None else f"{key[: index.start()]}*{key[index.end() :]}"
        counts[pattern] = counts.get(pattern, 0) + 1
        assert shapes.setdefault(pattern, list(tensor.shape)) == list(tensor.shape)
    return {pattern.replace("*", f"{{{counts[pattern]}}}"): shape for pattern, shape in shapes.items()}
