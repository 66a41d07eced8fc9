"""The officially published JEPA-WMS models: the facts of each that are known before it is loaded.

Names are those of `facebookresearch/jepa-wms`. P proprio, A packed action dim, D latent dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from worldforge_jepa_client.contract.spec import Normalization, Objective, PlannerDefaults

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Environment:
    """A task family: its statistics and the planner settings that its models were evaluated with."""

    name: str
    normalization: Normalization
    frameskip: int
    planner: PlannerDefaults


@dataclass(frozen=True)
class Encoder:
    """A frozen image encoder and the side of its images, px."""

    name: str
    latent_dim: int
    image_size: int


@dataclass(frozen=True)
class CatalogEntry:
    """One published model; `proprio_embed_dim` and P are 0 where it takes no proprio."""

    name: str
    environment: Environment
    encoder: Encoder
    proprio_embed_dim: int = 0
    action_embed_dim: int = 0
    proprio_weight: float = 0.1
    objective: Objective = Objective.L2
    context_window: int = 2

    @property
    def family(self) -> str:
        """`jepa_wm`, `dino_wm` or `vjepa2_ac`."""
        return self.name.rpartition("_")[0]

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names of its checkpoint, without ending: on Hugging Face, and on upstream's own server if it is listed."""
        return (self.name, *_UPSTREAM_FILES.get(self.name, ()))

    @property
    def normalization(self) -> Normalization:
        """The statistics in use: none of proprio where the model takes none."""
        statistics = self.environment.normalization
        return statistics if self.proprio_embed_dim else replace(statistics, proprio_mean=(), proprio_std=())

    @property
    def proprio_dim(self) -> int:
        """P."""
        return len(self.normalization.proprio_mean)

    @property
    def action_dim(self) -> int:
        """A."""
        return self.environment.frameskip * len(self.normalization.action_mean)

    @property
    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation per channel of pixels in 0..1."""
        return (_HALF, _HALF) if self.family == "dino_wm" else (IMAGENET_MEAN, IMAGENET_STD)

    @property
    def published(self) -> dict[str, Any]:
        """Fields that the entry adds to a model's spec, by name."""
        return {
            "family": self.family,
            "environment": self.environment.name,
            "encoder": self.encoder.name,
            "planner": self.environment.planner,
        }


_LONG = PlannerDefaults(samples=300, elites=10, iterations=30, horizon=6, executed_steps=6, initial_std=1.0)
_DROID_BOUND = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.75)

PUSHT = Environment(
    "pusht",
    Normalization(
        action_mean=(-0.0087, 0.0068),
        action_std=(0.2019, 0.2002),
        proprio_mean=(236.6155, 264.5674, -2.9303203, 2.5430791),
        proprio_std=(101.1202, 87.0112, 74.84556, 74.14009),
    ),
    frameskip=5,
    planner=_LONG,
)
WALL = Environment(
    "wall",
    Normalization(
        action_mean=(-0.005564616, 0.013197819),
        action_std=(0.75233287, 0.7466898),
        proprio_mean=(31.89451, 31.81402),
        proprio_std=(17.663523, 17.275167),
    ),
    frameskip=5,
    planner=_LONG,
)
POINTMAZE = Environment(
    "pointmaze",
    Normalization(
        action_mean=(7.821339e-05, 0.000600366),
        action_std=(0.576913, 0.5775879),
        proprio_mean=(1.8130563, 1.9377128, -0.003927535, -0.019777978),
        proprio_std=(1.005501, 0.96300894, 1.680277, 1.9319308),
    ),
    frameskip=5,
    planner=_LONG,
)
METAWORLD = Environment(
    "metaworld",
    Normalization(
        action_mean=(0.0057235775, 0.15735652, -0.13964579, 0.19981939),
        action_std=(0.73592395, 0.73408043, 0.7182977, 0.7432057),
        proprio_mean=(-0.002939211, 0.6544239, 0.15410054, 0.6402315),
        proprio_std=(0.10431359, 0.112305254, 0.07981759, 0.2613895),
    ),
    frameskip=5,
    planner=replace(_LONG, iterations=15, executed_steps=3),
)
DROID = Environment(
    "droid",
    Normalization(action_mean=(0.0,) * 7, action_std=(1.0,) * 7, proprio_mean=(0.0,) * 7, proprio_std=(1.0,) * 7),
    frameskip=1,
    planner=PlannerDefaults(
        samples=300,
        elites=10,
        iterations=15,
        horizon=3,
        executed_steps=3,
        initial_std=0.1,
        low=tuple(-bound for bound in _DROID_BOUND),
        high=_DROID_BOUND,
    ),
)

_UPSTREAM_FILES = {
    f"{family}_{environment}": (f"{short}_{infix}{suffix}",)
    for family, infix in (("jepa_wm", "jepa-wm"), ("dino_wm", "dino-wm"))
    for environment, short, suffix in (
        ("pusht", "pt", ""),
        ("pointmaze", "mz", ""),
        ("wall", "wall", ""),
        ("metaworld", "mw", ""),
        ("droid", "droid", "_noprop"),
    )
} | {"vjepa2_ac_droid": ("droid_vj2ac_noprop",), "vjepa2_ac_oss": ("droid_vj2ac_oss-prop",)}

DINOV2_S = Encoder("dinov2_vits14", latent_dim=384, image_size=224)
DINOV3_L = Encoder("dinov3_vitl16", latent_dim=1024, image_size=256)
VJEPA2_G = Encoder("vjepa2_vit_giant", latent_dim=1408, image_size=256)

CATALOG: dict[str, CatalogEntry] = {
    entry.name: entry
    for entry in (
        CatalogEntry("jepa_wm_metaworld", METAWORLD, DINOV2_S, proprio_embed_dim=16),
        CatalogEntry("jepa_wm_pusht", PUSHT, DINOV2_S, proprio_embed_dim=16),
        CatalogEntry("jepa_wm_pointmaze", POINTMAZE, DINOV2_S, proprio_embed_dim=16),
        CatalogEntry("jepa_wm_wall", WALL, DINOV2_S, proprio_embed_dim=16),
        CatalogEntry("jepa_wm_droid", DROID, DINOV3_L, proprio_weight=0.0),
        CatalogEntry("dino_wm_metaworld", METAWORLD, DINOV2_S, proprio_embed_dim=20, action_embed_dim=20),
        CatalogEntry("dino_wm_pusht", PUSHT, DINOV2_S, proprio_embed_dim=20, action_embed_dim=10),
        CatalogEntry("dino_wm_pointmaze", POINTMAZE, DINOV2_S, proprio_embed_dim=20, action_embed_dim=10),
        CatalogEntry("dino_wm_wall", WALL, DINOV2_S, proprio_embed_dim=10, action_embed_dim=10),
        CatalogEntry("dino_wm_droid", DROID, DINOV2_S, action_embed_dim=10, proprio_weight=0.0),
        CatalogEntry("vjepa2_ac_droid", DROID, VJEPA2_G, proprio_weight=0.0),
        CatalogEntry("vjepa2_ac_oss", DROID, VJEPA2_G, proprio_embed_dim=7, proprio_weight=0.0),
    )
}
