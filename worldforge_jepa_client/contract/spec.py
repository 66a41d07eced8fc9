"""The contract that a served model publishes: pure data, shared by client and server.

Letters: B batch, S samples (candidates), T context frames, H horizon, A packed action dim, P proprio dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from worldforge_jepa_client.planning import Method, PlannerOptions

DYNAMIC = -1
"""A dimension of a `TensorSpec` shape that may take any positive size."""

FLOATS = ("float32", "float64", "float16", "bfloat16")
"""The dtypes accepted where a model computes in floating point."""


class Objective(str, Enum):
    """The latent distance behind a score; lower is better for each of them."""

    L2 = "l2"
    L1 = "l1"
    COSINE = "cosine"


@dataclass(frozen=True)
class TensorSpec:
    """The tensors a field accepts: a shape with `DYNAMIC` dimensions, dtypes, and a closed value range if any."""

    shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    value_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Normalization:
    """Statistics of the training data; `normalized = (raw - mean) / std`, one entry per raw dimension.

    `action_*` have `raw_action_dim` entries; `proprio_*` have P, none where the model takes no proprio.
    """

    action_mean: tuple[float, ...]
    action_std: tuple[float, ...]
    proprio_mean: tuple[float, ...] = ()
    proprio_std: tuple[float, ...] = ()


@dataclass(frozen=True)
class Limits:
    """The largest request that the server accepts. 0 is no limit.

    `max_candidate_steps` bounds S x H, the candidates' actions all together.
    """

    max_samples: int
    max_horizon: int
    max_context_frames: int
    max_message_bytes: int = 0
    max_candidate_steps: int = 0


@dataclass(frozen=True)
class PlannerDefaults:
    """The CEM settings a model was published with, in its normalized action units.

    A plan uses them where the caller says nothing else. Each of `iterations` draws `samples` sequences of `horizon`
    actions and refits mean and deviation, at first 0 and `initial_std`, to the best `elites`; then `executed_steps`
    actions are executed. `low` and `high` bound each of the A entries; empty where nothing is clipped.
    """

    samples: int
    elites: int
    iterations: int
    horizon: int
    executed_steps: int
    initial_std: float
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def options(self, method: Method = "cem") -> PlannerOptions:
        """Return the settings that a plan by `method` takes from these; the elites are CEM's and iCEM's alone."""
        given = {name: value for name, value in vars(self).items() if name != "executed_steps" and value != ()}
        return PlannerOptions(**given | ({"elites": None} if method == "mppi" else {}))


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of the weights, and of what one candidate needs while it is unrolled, whatever the horizon; 0: unknown."""

    weights_bytes: int
    bytes_per_sample: int


@dataclass(frozen=True)
class Identity:
    """Which code runs on which weights. What is not known is empty or None.

    Attributes:
        repository: owner/name on GitHub, a local folder's name, a Python package, or "worldforge-jepa".
        revision: its commit, with "-dirty" where files were changed since; of a package the version.
        pretrained: True for the embedded weights, and for torch hub's option of that name; False for random ones, and
            for hub's pretrained=false; None for a file's, of which only the digest is known.
        weights_digest: "sha256:<hex>" of all parameters and buffers as loaded.
        model_class: the class that computes.
        model_module: its module.
        torch: the version, with its build.
    """

    repository: str = ""
    revision: str = ""
    pretrained: bool | None = None
    weights_digest: str = ""
    model_class: str = ""
    model_module: str = ""
    torch: str = ""


@dataclass(frozen=True)
class ModelSpec:
    """The full contract of one served model.

    Tensors on the wire: visual (1, T, 3, height, width), proprio (1, T, P) raw, action_history (1, T-1, A),
    action_candidates (1, S, H, A). An action packs `frameskip` raw actions, frame-major:
    A = `action_dim` = `frameskip` * `raw_action_dim`, `DYNAMIC` where the model does not say. `proprio` is None where
    the model takes none. A model may publish another `visual`: any array of that shape. The central square of a frame
    is resized to `image_size` px. Only a model with a scoring method of its own `reads_extra_info`. One that
    `normalizes_actions` takes raw actions without statistics. What is not known of a model is empty, 0 or None.
    """

    name: str
    source: str
    visual: TensorSpec
    proprio: TensorSpec | None
    raw_action_dim: int
    frameskip: int
    context_window: int
    objective: Objective
    proprio_weight: float
    normalization: Normalization | None
    limits: Limits
    device: str
    dtype: str
    parameter_count: int
    checkpoint_digest: str
    family: str = ""
    environment: str = ""
    encoder: str = ""
    planner: PlannerDefaults | None = None
    memory: MemoryUse | None = None
    image_size: int = 0
    compiled: bool = False
    reads_extra_info: bool = False
    identity: Identity = Identity()
    normalizes_actions: bool = False

    @property
    def provenance(self) -> dict[str, Any]:
        """Facts that tell this model from any other of its name, as JSON; unknown ones are left out."""
        named = {
            "source": self.source,
            "task_family": self.environment,
            "encoder": self.encoder,
            "parameter_count": self.parameter_count,
            "checkpoint_digest": self.checkpoint_digest,
            **vars(self.identity),
        }
        return {name: value for name, value in named.items() if value not in ("", 0, None) or value is False}

    @property
    def takes_frames(self) -> bool:
        """Whether `visual` is frames (1, T, 3, height, width), and not an array of a shape of the model's own."""
        return len(self.visual.shape) == 5 and self.visual.shape[2] == 3

    @property
    def action_dim(self) -> int:
        """A: what one packed action holds."""
        return self.frameskip * self.raw_action_dim

    @property
    def proprio_dim(self) -> int:
        """P, or 0 where the model takes no proprio."""
        return self.proprio.shape[-1] if self.proprio else 0

    @property
    def action_candidates(self) -> TensorSpec:
        """Candidates (1, S, H, A)."""
        return TensorSpec((1, DYNAMIC, DYNAMIC, self.action_dim), FLOATS)

    @property
    def action_history(self) -> TensorSpec:
        """Past actions (1, T-1, A): entry i was taken at context frame i."""
        return TensorSpec((1, DYNAMIC, self.action_dim), FLOATS)
