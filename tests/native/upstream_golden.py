"""Make `tests/data/robots.*` from upstream's own classes and configurations, at reduced sizes with drawn weights.

    JEPA_WMS_HUB_REPO=/path/to/jepa-wms python -m tests.native.upstream_golden /path/to/dinov2 /path/to/dinov3

Needs checkouts of the three repositories and the packages of the extra `hub`; no weights of theirs, no network.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file

from tests.native.golden_robots import (
    GRID,
    KEYS,
    OUTPUTS,
    ROBOTS,
    D,
    H,
    S,
    T,
    actions,
    frames,
    pose_moves,
    poses,
    weight,
)
from tests.native.upstream_sizes import PARTS, UPSTREAM, configuration, full_size


def tiny_encoder(family: str, **_: object) -> torch.nn.Module:
    """Upstream's encoder class at the reduced size."""
    if family == "dino_wm":
        from dinov2.models.vision_transformer import DinoVisionTransformer as Dinov2

        sizes = {"img_size": 70, "patch_size": 14, "depth": 2, "num_heads": 4, "block_chunks": 0}
        return Dinov2(embed_dim=D, init_values=1.0, **sizes)
    if family == "jepa_wm":
        from dinov3.hub.backbones import dinov3_vitl16
        from dinov3.models import vision_transformer

        made = vision_transformer.DinoVisionTransformer
        sizes = {"embed_dim": D, "depth": 2, "num_heads": 4}
        with mock.patch.object(vision_transformer, "DinoVisionTransformer", lambda **given: made(**given | sizes)):
            return dinov3_vitl16(pretrained=False)
    from src.models.vision_transformer_v2 import VisionTransformer

    sizes = {"img_size": 48, "num_frames": 4, "depth": 2, "num_heads": 3, "mlp_ratio": 48 / 11, "use_rope": True}
    norm = lambda dim: torch.nn.LayerNorm(dim, eps=1e-6)  # noqa: E731 - as upstream's makers choose it
    return VisionTransformer(embed_dim=D, qkv_bias=True, norm_layer=norm, **sizes)


def preprocessor(size: int, augmentation: dict) -> object:
    from app.plan_common.datasets.preprocessor import Preprocessor
    from app.plan_common.datasets.transforms import make_transforms

    transform = make_transforms(
        img_size=size,
        normalize=augmentation["normalize"],
        random_horizontal_flip=False,
        random_resize_aspect_ratio=(1.0, 1.0),
        random_resize_scale=(1.0, 1.0),
        reprob=0.0,
        auto_augment=False,
        motion_shift=False,
    )
    zeros, ones = torch.zeros(7), torch.ones(7)
    return Preprocessor(zeros, ones, zeros, ones, zeros, ones, transform)


def build(name: str, folder: Path) -> torch.nn.Module:
    """`EncPredWM` by upstream's own `init_module`, reduced, with drawn weights."""
    from app.vjepa_wm.modelcustom.simu_env_planning import vit_enc_preds
    from src.models import vision_transformer_v2

    robot, given, family = ROBOTS[name], configuration(name), name.rpartition("_")[0]
    sizes = given["pretrain_kwargs"] | {"grid_size": GRID, "num_frames_pred": 8, "heads_cfg": {}}
    sizes["visual_encoder"] |= {"embed_dim": D, "enc_name": "tiny", "num_frames_enc": 4}
    sizes["visual_encoder"]["pretrain_enc_path"] = str(folder / "encoder.pth")
    sizes["predictor"] |= {"pred_depth": 2, "pred_embed_dim": robot.width, "pred_num_heads": robot.heads}
    given["data"]["img_size"] = robot.image_size
    torch.save({"encoder": {}}, folder / "encoder.pth")
    torch.save({"predictor": {}}, folder / "none.pth")
    maker = lambda *_, **keywords: tiny_encoder(family)  # noqa: E731
    with mock.patch("torch.hub.load", maker), mock.patch.dict(vision_transformer_v2.__dict__, tiny=maker):
        model = vit_enc_preds.init_module(
            folder=str(folder),
            checkpoint="none.pth",
            model_kwargs=sizes,
            device=torch.device("cpu"),
            action_dim=7,
            proprio_dim=7,
            preprocessor=preprocessor(robot.image_size, given["data_aug"]),
            cfgs_data=given["data"],
            wrapper_kwargs=given["wrapper_kwargs"],
        )
    for part, module in parts_of(model).items():
        module.load_state_dict({key: weight(key, shape) for key, shape in shapes(part, module).items()}, strict=False)
    return model.eval()


def parts_of(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    modules = {part: getattr(model.model, part) for part in PARTS}
    modules["encoder"] = getattr(modules["encoder"], "base_model", modules["encoder"])
    return {part: module for part, module in modules.items() if module is not None}


def shapes(part: str, module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Of what is drawn: not of the causal mask."""
    return {
        key: tuple(tensor.shape)
        for key, tensor in module.state_dict().items()
        if not re.search(r"transformer\.layers\.\d+\.0\.bias", key)
    }


def observation(name: str, count: int, has_pose: bool) -> object:
    visual = frames(name, count)
    return {"visual": visual, "proprio": poses(f"{name} pose", count)} if has_pose else visual


def split(latents: object) -> dict[str, torch.Tensor]:
    """Latents by part; without proprio upstream has a bare tensor."""
    return {"visual": latents} if isinstance(latents, torch.Tensor) else dict(latents.items())


def unroll_from_several(model: torch.nn.Module, latents: object, taken: torch.Tensor, window: int) -> dict:
    """As `EncPredWM.unroll`, which takes one frame only: `taken` [T - 1 + H, S, A] has the past actions too."""
    from app.plan_common.datasets.droid_dset import compute_new_pose

    parts = {key: value.expand(S, *value.shape[1:]) for key, value in split(latents).items()}
    encoded = model.model.encode_act(taken.transpose(0, 1))
    for now in range(parts["visual"].shape[1], taken.shape[0] + 1):
        seen = {key: value[:, -window:] for key, value in parts.items()}
        visual, _, _ = model.model.forward_pred(
            seen["visual"], encoded[:, max(0, now - window) : now], seen.get("proprio")
        )
        parts["visual"] = torch.cat([parts["visual"], visual[:, -1:]], 1)
        if "proprio" in parts:
            moved = compute_new_pose(parts["proprio"][:, -1:], taken.transpose(0, 1)[:, now - 1 : now])
            parts["proprio"] = torch.cat([parts["proprio"], moved], 1)
    return {key: value.transpose(0, 1) for key, value in parts.items()}


def scores(unrolled: object, goal: object) -> dict[str, torch.Tensor]:
    from evals.simu_env_planning.planning.planning import objectives

    kinds = {
        "l2": objectives.ReprTargetDistMPCObjective,
        "l1": objectives.ReprTargetDistL1MPCObjective,
        "cosine": objectives.ReprTargetCosMPCObjective,
    }
    alphas = (0.0,) if isinstance(goal, torch.Tensor) else (0.0, 0.1, 1.0)
    return {
        f"scores_{key}_{alpha}": kind({}, goal, alpha=alpha)(unrolled, None)
        for key, kind in kinds.items()
        for alpha in alphas
    }


@torch.no_grad()
def outputs(name: str, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    has_pose = model.model.use_proprio
    context, goal, several = (
        model.encode(observation(key, count, has_pose)) for key, count in (("now", 1), ("goal", 1), ("past", T))
    )
    candidates, history = actions("candidates", H, S), actions("history", T - 1, 1)
    unrolled = model.unroll(context, candidates)
    taken = torch.cat([history.expand(-1, S, -1), candidates])
    pieces = split(several)
    called = model.model.forward_pred(
        pieces["visual"], model.model.encode_act(taken[:T, :1].transpose(0, 1)), pieces.get("proprio")
    )
    out = {"predictor_visual": called[0]} | scores(unrolled, goal)
    named = {"now": context, "goal": goal, "past": several, "unroll": unrolled}
    named |= {f"past_unroll_{w}": unroll_from_several(model, several, taken, w) for w in (2, 3)}
    for key, latents in named.items():
        latents = latents if isinstance(latents, dict) else split(latents)
        start = {"unroll": 1}.get(key, T if "unroll" in key else 0)
        out |= {f"{key}_{part}": value[start:] for part, value in latents.items()}
    return {f"{name}.{key}": value.contiguous().clone() for key, value in out.items()}


def main(dinov2: str, dinov3: str) -> None:
    from app.plan_common.datasets.droid_dset import compute_new_pose

    facts, tensors = {}, {"pose.moved": compute_new_pose(*pose_moves())}
    for name in ROBOTS:
        with tempfile.TemporaryDirectory() as folder:
            model = build(name, Path(folder))
        tensors |= outputs(name, model)
        reduced = {part: shapes(part, module) for part, module in parts_of(model).items()}
        facts[name] = {"reduced": reduced, "full": full_size(name)}
    save_file({key: tensor.float().contiguous() for key, tensor in tensors.items()}, OUTPUTS)
    KEYS.write_text(json.dumps(facts, indent=0, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    sys.path[:0] = [str(UPSTREAM), *sys.argv[1:]]
    main(*sys.argv[1:])
