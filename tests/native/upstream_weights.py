"""`python -m tests.native.upstream_weights FOLDER`: random weights in the places where upstream looks for its own.

With them `tests/external/test_hub*.py` run on upstream's real code where its weights are not at hand; prints what to export.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import torch

from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.weights.architectures import model_config

CHECKPOINTS = {
    "jepa_wm_pusht": "pt_sweep/pt_4f_fsk5_ask1_r224_vjtranoaug_predAdaLN_ftprop_depth6_repro_2roll_save",
    "dino_wm_pusht": "pt_sweep/pt_4f_fsk5_ask1_r224_pred_dino_wm_depth6_repro_1roll_save",
}
STATE_HEAD = "pt/step2_pt_state_head_dinovits_r224/jepa-latest_state_head.pth.tar"
IMAGE_HEADS = ("vm2m_lpips_dv2vits_vitldec_224_INet.pth.tar", "vm2m_lpips_dv2vits_vitldec_224_05norm.pth.tar")


def synthetic_weights(name: str) -> dict[str, torch.Tensor]:
    """Small random weights under this project's names."""
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in Jepa(model_config(CATALOG[name])).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    return {key: 0.02 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def official_files(name: str, folder: Path, weights: dict[str, torch.Tensor], **extra: object) -> tuple[Path, Path]:
    """`weights` as the official files hold them: a checkpoint in parts, and the encoder's own file."""
    encoder = {key.removeprefix("encoder."): t for key, t in weights.items() if key.startswith("encoder.")}
    parts: dict[str, dict[str, torch.Tensor]] = {"predictor": {}}
    for key, tensor in weights.items():
        if name.startswith("dino_wm"):
            key = key.removeprefix("predictor.") if key.startswith("predictor.action_encoder.") else key
        part, _, rest = key.partition(".")
        if part != "encoder":
            parts.setdefault(part, {})[f"module.{rest}"] = tensor
    checkpoint, encoder_path = folder / f"{name}.pth.tar", folder / "dinov2_vits14_pretrain.pth"
    torch.save({**parts, "opt": None, "scaler": {"scale": 1.0}, "epoch": 50, **extra}, checkpoint)
    torch.save({**encoder, "mask_token": torch.zeros(1, 384)}, encoder_path)
    return checkpoint, encoder_path


def lively(key: str, tensor: torch.Tensor) -> torch.Tensor:
    """Scale random weights so that latents of order 1 stay so, and actions matter."""
    noise = tensor / tensor.std() if tensor.numel() > 1 else tensor
    if key.endswith("gamma"):
        return 0.5 + 0.1 * noise
    if ("norm" in key and key.endswith("weight")) or key.endswith("net.0.weight"):
        return 1 + 0.1 * noise
    if key.endswith("bias") or "pos_emb" in key or "cls_token" in key:
        return 0.1 * noise
    # Modulation as strong as the rest would multiply rounding errors tenfold with each predicted frame.
    gain = 5 if "action_encoder" in key else 0.3 if "adaLN" in key else 1
    return gain * noise / math.sqrt(math.prod(tensor.shape[1:]))


def write(folder: Path) -> dict[str, str]:
    """Write them below `folder`; return the environment variables by which upstream finds them."""
    logs, cache = folder / "logs", folder / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True, exist_ok=True)
    for name, place in CHECKPOINTS.items():
        (logs / place).mkdir(parents=True, exist_ok=True)
        weights = {key: lively(key, tensor) for key, tensor in synthetic_weights(name).items()}
        checkpoint, encoder = official_files(name, logs / place, weights)
        checkpoint.rename(logs / place / "jepa-latest.pth.tar")
        encoder.rename(cache / encoder.name)
    for head in (logs / STATE_HEAD, *(cache / name for name in IMAGE_HEADS)):
        head.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"epoch": 0, "model": {}}, head)
    return {"JEPAWM_LOGS": str(logs), "TORCH_HOME": str(folder / "torch")}


if __name__ == "__main__":
    for name, value in write(Path(sys.argv[1]).resolve()).items():
        print(f"export {name}={value}")
