"""The recorded models of tests/data: random weights, and what upstream's classes computed with them."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from worldforge_jepa_client.contract.spec import Limits, Normalization
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.native.encoders.dinov2 import Dinov2Config
from worldforge_jepa_server.models.native.jepa import Jepa, ModelConfig
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.predictors.adaln import AdaLNConfig
from worldforge_jepa_server.models.native.predictors.causal import CausalConfig
from worldforge_jepa_server.models.native.weights.checkpoint import load_weights
from worldforge_jepa_server.models.native.weights.key_names import official_weights

DATA = Path(__file__).parents[1] / "data"
WINDOW = 2


class Golden:
    """One tiny model: its sizes, its weights, and what upstream's classes computed with them."""

    def __init__(self, name: str) -> None:
        self.facts = json.loads((DATA / f"{name}.json").read_text())
        self.tensors = load_file(DATA / f"{name}.safetensors")
        parts = {"encoder": {}, "predictor": {}, "action_encoder": {}, "proprio_encoder": {}, "in": {}, "out": {}}
        for key, tensor in self.tensors.items():
            part, _, rest = key.partition(".")
            parts[part][rest] = tensor
        self.given, self.expected = parts.pop("in"), parts.pop("out")
        encoder = parts.pop("encoder")
        self.weights = official_weights({part: state for part, state in parts.items() if state}, encoder)

    def config(self, window: int = WINDOW) -> ModelConfig:
        facts, encoder, stats = self.facts, self.facts["encoder"], self.facts["preprocessor"]
        return ModelConfig(
            Dinov2Config(
                image_size=facts["transform"]["img_size"],
                patch_size=encoder["patch"],
                position_grid=encoder["pos_embed"]["trained_grid"],
                embed_dim=encoder["embed_dim"],
                depth=encoder["depth"],
                heads=encoder["heads"],
                mlp_ratio=encoder["mlp_hidden"] // encoder["embed_dim"],
                norm_eps=encoder["layernorm_eps"],
                position_offset=encoder["pos_embed"]["offset"],
            ),
            self.predictor_config(),
            Normalization(*(tuple(stats[key]) for key in ("action_mean", "action_std", "proprio_mean", "proprio_std"))),
            frameskip=facts["frameskip"],
            context_window=window,
            pixel_mean=tuple(facts["transform"]["mean"]),
            pixel_std=tuple(facts["transform"]["std"]),
        )

    def predictor_config(self) -> AdaLNConfig | CausalConfig:
        facts, predictor = self.facts, self.facts["predictor"]
        shared = {
            "proprio_embed_dim": predictor["proprio_emb_dim"],
            "action_dim": facts["action_dim"],
            "grid": facts["grid_size"],
            "depth": predictor["depth"],
            "heads": predictor["heads"],
            "norm_eps": predictor["layernorm_eps"],
        }
        if "action_emb_dim" in predictor:
            return CausalConfig(
                visual_dim=predictor["embed_dim"],
                action_embed_dim=predictor["action_emb_dim"],
                hidden=predictor["mlp_hidden"],
                head_dim=predictor["head_dim"],
                max_frames=predictor["num_frames_max"],
                **shared,
            )
        return AdaLNConfig(
            latent_dim=predictor["embed_dim"],
            visual_dim=predictor["predictor_embed_dim"],
            mlp_ratio=predictor["mlp_hidden"] // predictor["width"],
            rope_base=predictor["rope"]["base"],
            **shared,
        )

    def model(self, window: int = WINDOW) -> NativeModel:
        module = Jepa(self.config(window))
        load_weights(module, self.weights)
        return NativeModel(module, name="golden", source="test", digest="", device="cpu", limits=Limits(100, 10, 4))

    def close(self, actual: torch.Tensor, name: str, tolerance: float) -> None:
        expected = self.expected[name]
        torch.testing.assert_close(actual.reshape(expected.shape), expected, rtol=0, atol=tolerance)

    def observe(self, name: str, proprio: str | None = None) -> Observation:
        return Observation(self.given[name], self.given[proprio] if proprio else None)

    def latents(self, name: str) -> Latents:
        return Latents(self.expected[f"{name}_visual"].flatten(2, 4), self.expected[f"{name}_proprio"])
