"""A preprocessor beside a foreign model: its statistics and its `transform` are applied, or refused.

Letters: B batch, T frames, A packed action dim, P proprio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from worldforge_jepa_client.contract.spec import Normalization
from worldforge_jepa_client.errors import InternalError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.models.contract import ModelLoadError

_FRAMES = ("visual", "pixels", "observation", "goal", "image")
_READ = "action_mean and action_std, proprio_mean and proprio_std, NAME_mean and NAME_std, normalize_actions, transform"

Moments = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, one entry for each feature."""


@dataclass(frozen=True)
class Preprocessing:
    """Changes to the inputs that the server makes before the model sees them.

    Attributes:
        actions: moments of raw actions; None leaves raw actions refused.
        others: moments by input, "proprio" or a tensor of `extra_info`, that the server applies.
        published_proprio: moments of proprio, whether server or model applies them; None where neither does.
        transform: applied to float32 frames [B, T, 3, height, width] in 0..255.
        normalizer: applied to raw packed actions [..., A], where there are no moments of actions.
    """

    actions: Moments | None = None
    others: Mapping[str, Moments] = field(default_factory=dict)
    published_proprio: Moments | None = None
    transform: Callable[[Tensor], Any] | None = None
    normalizer: Callable[[Tensor], Any] | None = None

    @property
    def normalization(self) -> Normalization | None:
        """The statistics to publish."""
        return Normalization(*self.actions, *(self.published_proprio or ())) if self.actions else None

    def frames(self, visual: Tensor) -> Tensor:
        """Return a float32 copy of frames [B, T, 3, height, width], transformed where there is a transform.

        Raises:
            InternalError: the transform returned no floating-point frames [B, T, ...].
        """
        copied = visual.to(torch.float32, copy=True)
        if self.transform is None:
            return copied
        transformed = self.transform(copied)
        if not _are_frames(transformed, visual):
            got = f"{transformed.dtype} {tuple(transformed.shape)}" if isinstance(transformed, Tensor) else "no tensor"
            raise InternalError(
                f"the preprocessor's transform returned {got} for frames {tuple(visual.shape)}; "
                "expected floating point of the same batch and frames",
                reason=Reason.INVALID_RESPONSE,
            )
        owned: Tensor = transformed.clone()  # the transform may return a buffer that it uses again
        return owned

    def normalize_actions(self, actions: Tensor) -> Tensor:
        """Return raw packed actions [..., A] as the preprocessor's `normalize_actions` normalizes them.

        Raises:
            InternalError: it returned no finite actions of the same shape.
        """
        assert self.normalizer is not None
        result = self.normalizer(actions.clone())
        if not (isinstance(result, Tensor) and result.shape == actions.shape and bool(result.isfinite().all())):
            got = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            raise InternalError(
                f"the preprocessor's normalize_actions returned {got} for actions {tuple(actions.shape)}; "
                "expected finite ones of the same shape",
                reason=Reason.INVALID_RESPONSE,
            )
        return result.to(torch.float32, copy=True)

    def normalize(self, name: str, values: Tensor) -> Tensor:
        """Return a copy of proprio or of a tensor of `extra_info`, [..., D], in the model's units.

        Raises:
            InternalError: the statistics have another number of entries than D.
        """
        moments = self.others.get(name.removeprefix("goal_"))
        if moments is None:
            return values.clone()
        mean, std = (values.new_tensor(part) for part in moments)
        if len(mean) not in (1, values.shape[-1]):
            raise InternalError(
                f"{name} has {values.shape[-1]} entries, the preprocessor's statistics {len(mean)}",
                reason=Reason.INVALID_RESPONSE,
            )
        return (values - mean) / std


UNCHANGED = Preprocessing()
"""No change: the model sees what came, in float32."""


def read_preprocessor(preprocessor: Any, *, owned: bool, proprio_dim: int) -> Preprocessing:
    """Read what a preprocessor publishes.

    Args:
        preprocessor: the object, or None.
        owned: the model has it as its `preprocessor`, and applies all but the statistics of actions itself.
        proprio_dim: P, 0 where the model takes none.

    Raises:
        ModelLoadError: it is a mapping, offers nothing that is read, or its statistics cannot be applied.
    """
    if preprocessor is None:
        return Preprocessing()
    if isinstance(preprocessor, Mapping):
        raise ModelLoadError(f"its preprocessor is a {type(preprocessor).__name__}; expected an object with {_READ}")
    published = _published(preprocessor)
    actions, proprio = _checked("action", published.pop("action", None)), published.get("proprio")
    normalizer = None if actions else _method(preprocessor, "normalize_actions")
    if owned:
        return Preprocessing(actions, {}, proprio if proprio_dim else None, normalizer=normalizer)
    transform = _method(preprocessor, "transform")
    if not (published or actions or transform or normalizer):
        raise ModelLoadError(f"its preprocessor, a {type(preprocessor).__name__}, has none of {_READ}")
    others = {name: moments for name, each in published.items() if (moments := _checked(name, each))}
    _check_applicable(others, proprio_dim)
    return Preprocessing(actions, others, others.get("proprio"), transform, normalizer)


def _method(preprocessor: Any, name: str) -> Callable[[Tensor], Any] | None:
    method = getattr(preprocessor, name, None)
    return method if callable(method) else None


def _published(preprocessor: Any) -> dict[str, Moments]:
    """Mean and deviation by name, empty tuples for what is missing."""
    names = {name.rpartition("_")[0] for name in dir(preprocessor) if name.endswith(("_mean", "_std"))} - {""}
    values = {
        name: tuple(getattr(preprocessor, f"{name}_{part}", None) for part in ("mean", "std"))
        for name in sorted(names)
        if not name.startswith("_")
    }
    return {
        name: (_floats(mean), _floats(std))
        for name, (mean, std) in values.items()
        if not (callable(mean) or callable(std) or (mean is None and std is None))
    }


def _floats(values: Any) -> tuple[float, ...]:
    return () if values is None else tuple(torch.as_tensor(values, dtype=torch.float32).flatten().tolist())


def _checked(name: str, moments: Moments | None) -> Moments | None:
    if moments is None:
        return None
    mean, std = moments
    if not mean or len(mean) != len(std) or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise ModelLoadError(f"its {name} statistics cannot normalize: {name}_mean {mean}, {name}_std {std}")
    return moments


def _check_applicable(others: Mapping[str, Moments], proprio_dim: int) -> None:
    if images := [name for name in others if name.startswith(_FRAMES)]:
        raise ModelLoadError(
            f"its preprocessor publishes {images[0]}_mean, but not in which range and layout it applies; give it a "
            "transform of float32 frames [B, T, 3, height, width] in 0..255"
        )
    if "proprio" in others and len(others["proprio"][0]) != proprio_dim:
        raise ModelLoadError(
            f"its preprocessor publishes statistics of {len(others['proprio'][0])} proprio entries; the model's "
            f"proprio_dim is {proprio_dim}"
        )


def _are_frames(transformed: Any, visual: Tensor) -> bool:
    return (
        isinstance(transformed, Tensor)
        and transformed.is_floating_point()
        and transformed.ndim > 2
        and transformed.shape[:2] == visual.shape[:2]
    )
