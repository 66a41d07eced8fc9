"""From what foreign code hands over, `model` or `(model, preprocessor)`, to a served model with a published spec."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from worldforge_jepa_client.contract.spec import (
    DYNAMIC,
    FLOATS,
    Limits,
    MemoryUse,
    ModelSpec,
    Normalization,
    Objective,
    TensorSpec,
)
from worldforge_jepa_server.models.catalog import CatalogEntry
from worldforge_jepa_server.models.contract import ModelLoadError, ServedModel
from worldforge_jepa_server.models.external.latent_model import ExternalLatentModel, can_step
from worldforge_jepa_server.models.external.scoring_model import METHODS, ExternalScoringModel, scoring_method
from worldforge_jepa_server.models.precision import FLOAT32, Execution

_MAX_SAMPLES, _MAX_HORIZON, _MAX_FRAMES = 4096, 64, 16


def adapt(
    loaded: Any,
    *,
    name: str,
    source: str,
    device: str,
    entry: CatalogEntry | None = None,
    execution: Execution = FLOAT32,
) -> ServedModel:
    """Put what a loader returned behind the model contract.

    Args:
        loaded: a model, or a tuple of model and preprocessor.
        name: what the server calls it.
        source: where it comes from.
        device: where it was asked to be.
        entry: what is published of it, if it is a published model.
        execution: how it is to compute.

    Raises:
        ModelLoadError: it is no model, on another device, or not what the catalog says.
    """
    model, preprocessor = _pair(loaded)
    method = scoring_method(model)
    latent = callable(getattr(model, "encode", None)) and callable(getattr(model, "unroll", None))
    if method is None and not latent:
        raise ModelLoadError(
            f"a {type(model).__name__} has neither encode and unroll nor a method to score with ({', '.join(METHODS)})"
        )
    if isinstance(model, torch.nn.Module):
        model.eval().requires_grad_(False)
    spec = _spec(model, preprocessor, name, source, device, entry)
    if method is None:
        return ExternalLatentModel(model, _executed(model, spec, execution), execution)
    if execution != FLOAT32:
        raise ModelLoadError("precision and compile are not for a model that scores by itself")
    return ExternalScoringModel(method, spec)


def _executed(model: Any, spec: ModelSpec, execution: Execution) -> ModelSpec:
    """Compile the parts, and publish what is in force."""
    if execution.compiled:
        inner = getattr(model, "model", model)
        if not isinstance(inner, torch.nn.Module):
            raise ModelLoadError(f"compile=true: a {type(inner).__name__} is no torch module")
        execution.compile(inner.children())
    dtype = spec.dtype if execution.dtype is torch.float32 else execution.precision
    return replace(spec, dtype=dtype, compiled=execution.compiled)


def _pair(loaded: Any) -> tuple[Any, Any]:
    if not isinstance(loaded, tuple):
        loaded = (loaded,)
    if len(loaded) not in (1, 2) or loaded[0] is None:
        raise ModelLoadError(f"expected a model or (model, preprocessor), got {len(loaded)} objects or no model")
    return loaded[0], loaded[1] if len(loaded) == 2 else None


def _spec(model: Any, preprocessor: Any, name: str, source: str, device: str, entry: CatalogEntry | None) -> ModelSpec:
    inner = getattr(model, "model", model)
    action_dim = getattr(model, "action_dim", DYNAMIC)
    proprio_dim = (getattr(inner, "proprio_dim", 0) or 0) if getattr(inner, "use_proprio", True) else 0
    _check_against(entry, action_dim, proprio_dim)
    statistics = _statistics(preprocessor, proprio_dim)
    raw_action_dim, frameskip = _packing(action_dim, statistics, inner)
    parameters = list(model.parameters()) if isinstance(model, torch.nn.Module) else []
    _check_device(parameters, device)
    return ModelSpec(
        name=name,
        source=source,
        visual=TensorSpec((1, DYNAMIC, 3, DYNAMIC, DYNAMIC), ("uint8", *FLOATS), (0.0, 255.0)),
        proprio=TensorSpec((1, DYNAMIC, proprio_dim), FLOATS) if proprio_dim else None,
        raw_action_dim=raw_action_dim,
        frameskip=frameskip,
        context_window=getattr(model, "ctxt_window", 1),
        objective=entry.objective if entry else Objective.L2,
        proprio_weight=entry.proprio_weight if entry else 0.1 if proprio_dim else 0.0,
        normalization=statistics,
        limits=Limits(_MAX_SAMPLES, _MAX_HORIZON, _MAX_FRAMES if scoring_method(model) or can_step(model) else 1),
        device=device,
        dtype=str(parameters[0].dtype).removeprefix("torch.") if parameters else "float32",
        parameter_count=sum(parameter.numel() for parameter in parameters),
        checkpoint_digest="",
        memory=MemoryUse(sum(parameter.nbytes for parameter in parameters), 0) if parameters else None,
        image_size=size if isinstance(size := getattr(inner, "img_size", 0), int) else 0,
        reads_extra_info=scoring_method(model) is not None,
        **(entry.published if entry else {}),
    )


def _check_against(entry: CatalogEntry | None, action_dim: int, proprio_dim: int) -> None:
    if entry and (action_dim, proprio_dim) != (entry.action_dim, entry.proprio_dim):
        raise ModelLoadError(
            f"it has action_dim {action_dim} and proprio_dim {proprio_dim}; the published {entry.name} has "
            f"{entry.action_dim} and {entry.proprio_dim}"
        )


def _statistics(preprocessor: Any, proprio_dim: int) -> Normalization | None:
    names = ("action_mean", "action_std", "proprio_mean", "proprio_std")
    mean, std, *proprio = (_floats(getattr(preprocessor, name, None)) for name in names)
    if not (mean and std):
        return None
    if len(mean) != len(std) or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise ModelLoadError(f"its action statistics cannot normalize: action_mean {mean}, action_std {std}")
    return Normalization(mean, std, *(proprio if proprio_dim else ()))


def _floats(values: Any) -> tuple[float, ...]:
    return () if values is None else tuple(torch.as_tensor(values, dtype=torch.float32).flatten().tolist())


def _packing(action_dim: int, statistics: Normalization | None, inner: Any) -> tuple[int, int]:
    """The raw action dim and how many raw actions one action packs."""
    if action_dim == DYNAMIC:
        return DYNAMIC, 1
    if statistics is None:
        frameskip = getattr(inner, "frameskip", 1) or 1
        return (action_dim // frameskip, frameskip) if action_dim % frameskip == 0 else (action_dim, 1)
    raw = len(statistics.action_mean)
    if action_dim % raw:
        raise ModelLoadError(f"action_dim {action_dim} does not pack actions of {raw} entries, as its statistics have")
    return raw, action_dim // raw


def _check_device(parameters: list[torch.nn.Parameter], device: str) -> None:
    found = {parameter.device.type for parameter in parameters} - {torch.device(device).type}
    if found:
        raise ModelLoadError(f"asked for {device}, but its weights are on {', '.join(sorted(found))}")
