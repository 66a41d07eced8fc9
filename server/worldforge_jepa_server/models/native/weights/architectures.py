"""The architecture of each published model."""

from __future__ import annotations

from worldforge_jepa_server.models.catalog import DINOV2_S, DINOV3_L, CatalogEntry
from worldforge_jepa_server.models.native.encoders.dinov2 import Dinov2Config
from worldforge_jepa_server.models.native.encoders.dinov3 import Dinov3Config
from worldforge_jepa_server.models.native.encoders.vjepa2 import VJepa2Config
from worldforge_jepa_server.models.native.jepa import EncoderConfig, ModelConfig, PredictorConfig
from worldforge_jepa_server.models.native.predictors.action_tokens import ActionTokensConfig
from worldforge_jepa_server.models.native.predictors.adaln import AdaLNConfig
from worldforge_jepa_server.models.native.predictors.causal import CausalConfig

_HEADS = 16


def model_config(entry: CatalogEntry) -> ModelConfig:
    """Return the architecture and units of a published model."""
    encoder = _encoder(entry)
    mean, std = entry.pixel_statistics
    return ModelConfig(
        encoder,
        _predictor(entry, encoder.grid),
        entry.normalization,
        entry.environment.frameskip,
        context_window=entry.context_window,
        proprio_weight=entry.proprio_weight,
        objective=entry.objective,
        pixel_mean=mean,
        pixel_std=std,
    )


def _encoder(entry: CatalogEntry) -> EncoderConfig:
    size, dim = entry.encoder.image_size, entry.encoder.latent_dim
    if entry.encoder is DINOV2_S:
        return Dinov2Config(size, patch_size=14, position_grid=37, embed_dim=dim, depth=12, heads=6)
    if entry.encoder is DINOV3_L:
        return Dinov3Config(size, patch_size=16, embed_dim=dim, depth=24, heads=16)
    return VJepa2Config(size, patch_size=16, embed_dim=dim, depth=40, heads=22, hidden=dim * 48 // 11)


def _predictor(entry: CatalogEntry, grid: int) -> PredictorConfig:
    dim, actions = entry.encoder.latent_dim, entry.action_dim
    if entry.family == "vjepa2_ac":
        return ActionTokensConfig(dim, 1024, actions, entry.proprio_dim, grid, depth=24, heads=_HEADS)
    depth = 12 if entry.encoder is DINOV3_L else 6
    if entry.family == "dino_wm":
        return CausalConfig(dim, entry.proprio_embed_dim, entry.action_embed_dim, actions, grid, depth, _HEADS)
    return AdaLNConfig(dim, dim, entry.proprio_embed_dim, actions, grid, depth, _HEADS)
