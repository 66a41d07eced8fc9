"""Put a foreign `model` or `(model, preprocessor)` behind the model contract, with a published spec."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from worldforge_jepa_client.contract.spec import (
    DYNAMIC,
    FLOATS,
    Identity,
    Limits,
    MemoryUse,
    ModelSpec,
    Objective,
    TensorSpec,
)
from worldforge_jepa_server.models.catalog import CatalogEntry
from worldforge_jepa_server.models.contract import ModelLoadError, ServedModel
from worldforge_jepa_server.models.external.latent_model import ExternalLatentModel, can_step
from worldforge_jepa_server.models.external.preprocess import Preprocessing, read_preprocessor
from worldforge_jepa_server.models.external.scoring_model import (
    METHODS,
    ExternalScoringModel,
    own_shape,
    scoring_method,
)
from worldforge_jepa_server.models.identity import identify, module_of
from worldforge_jepa_server.models.precision import FLOAT32, Execution

_MAX_SAMPLES, _MAX_HORIZON, _MAX_FRAMES = 4096, 64, 16


def adapt(
    loaded: Any,
    *,
    name: str,
    source: str,
    device: str,
    entry: CatalogEntry | None = None,
    identity: Identity | None = None,
    execution: Execution = FLOAT32,
    error_detail: bool = False,
    past_in_candidates: bool = False,
) -> ServedModel:
    """Wrap a loaded model, with its preprocessor if it has one, in the model contract.

    Args:
        loaded: a model, or a tuple of model and preprocessor.
        name: the name it is served under.
        source: the source to publish, `KIND:TARGET`.
        device: the device that its weights have to be on.
        entry: the catalog's entry, if it is a published model.
        identity: what is known of its code; class, weights and torch are added.
        execution: precision and compilation.
        error_detail: put the text of the model's exceptions into errors.
        past_in_candidates: `get_cost` takes past actions before the candidates instead of in `info`.

    Raises:
        ModelLoadError: it is no model, on another device, or not what the catalog says.
    """
    model, preprocessor = _pair(loaded)
    method = scoring_method(model, past_in_candidates)
    if method is None:
        _check_latents(model)
    spec, preprocessing = _spec(model, preprocessor, name, source, device, entry)
    spec = replace(spec, identity=identify(model, identity or Identity()))
    if method is None:
        return ExternalLatentModel(model, _executed(model, spec, execution), execution, preprocessing, error_detail)
    if execution != FLOAT32:
        raise ModelLoadError("precision and compile are not for a model that scores by itself")
    return ExternalScoringModel(method, spec, preprocessing, error_detail)


def _check_latents(model: Any) -> None:
    """Refuse a model that can neither score by itself nor by its latents."""
    if not all(callable(getattr(model, name, None)) for name in ("encode", "unroll")):
        raise ModelLoadError(
            f"a {type(model).__name__} has neither encode and unroll nor a method to score with ({', '.join(METHODS)})"
        )


def _executed(model: Any, spec: ModelSpec, execution: Execution) -> ModelSpec:
    """Compile the model's parts; return the spec with the precision and compilation in force."""
    if execution.compiled:
        inner = getattr(model, "model", model)
        if not isinstance(inner, torch.nn.Module):
            raise ModelLoadError(f"compile=true: a {type(inner).__name__} is no torch module")
        execution.compile(inner.children())
    dtype = spec.dtype if execution.dtype is torch.float32 else execution.precision
    return replace(spec, dtype=dtype, compiled=execution.compiled)


def _pair(loaded: Any) -> tuple[Any, Any]:
    """Return the model, made ready for inference, and its preprocessor or None."""
    if not isinstance(loaded, tuple):
        loaded = (loaded,)
    if len(loaded) not in (1, 2) or loaded[0] is None:
        raise ModelLoadError(f"expected a model or (model, preprocessor), got {len(loaded)} objects or no model")
    if isinstance(loaded[0], torch.nn.Module):
        loaded[0].eval().requires_grad_(False)
    return loaded[0], loaded[1] if len(loaded) == 2 else None


def _spec(
    model: Any, preprocessor: Any, name: str, source: str, device: str, entry: CatalogEntry | None
) -> tuple[ModelSpec, Preprocessing]:
    inner = getattr(model, "model", model)
    action_dim = getattr(model, "action_dim", DYNAMIC)
    proprio_dim = (getattr(inner, "proprio_dim", 0) or 0) if getattr(inner, "use_proprio", True) else 0
    _check_against(entry, action_dim, proprio_dim)
    owned = getattr(model, "preprocessor", None) is not None
    preprocessing = read_preprocessor(preprocessor, owned=owned, proprio_dim=proprio_dim)
    raw_action_dim, frameskip = _packing(action_dim, preprocessing, inner)
    module = module_of(model)
    parameters = list(module.parameters()) if module is not None else []
    _check_device(parameters, device)
    spec = ModelSpec(
        name=name,
        source=source,
        visual=_visual(model),
        proprio=TensorSpec((1, DYNAMIC, proprio_dim), FLOATS) if proprio_dim else None,
        raw_action_dim=raw_action_dim,
        frameskip=frameskip,
        context_window=getattr(model, "ctxt_window", 1),
        objective=entry.objective if entry else Objective.L2,
        proprio_weight=entry.proprio_weight if entry else 0.1 if proprio_dim else 0.0,
        normalization=preprocessing.normalization,
        limits=Limits(_MAX_SAMPLES, _MAX_HORIZON, _MAX_FRAMES if scoring_method(model) or can_step(model) else 1),
        device=device,
        dtype=str(parameters[0].dtype).removeprefix("torch.") if parameters else "float32",
        parameter_count=sum(parameter.numel() for parameter in parameters),
        checkpoint_digest="",
        memory=MemoryUse(sum(parameter.nbytes for parameter in parameters), 0) if parameters else None,
        image_size=size if isinstance(size := getattr(inner, "img_size", 0), int) else 0,
        reads_extra_info=scoring_method(model) is not None,
        normalizes_actions=preprocessing.normalizer is not None,
        **(entry.published if entry else {}),
    )
    return spec, preprocessing


def _visual(model: Any) -> TensorSpec:
    """Return what the model takes as observation and goal: frames, or arrays of a shape of its own."""
    shape = own_shape(model)
    if shape is not None:
        return TensorSpec(shape, ("uint8", *FLOATS))
    return TensorSpec((1, DYNAMIC, 3, DYNAMIC, DYNAMIC), ("uint8", *FLOATS), (0.0, 255.0))


def _check_against(entry: CatalogEntry | None, action_dim: int, proprio_dim: int) -> None:
    if entry and (action_dim, proprio_dim) != (entry.action_dim, entry.proprio_dim):
        raise ModelLoadError(
            f"it has action_dim {action_dim} and proprio_dim {proprio_dim}; the published {entry.name} has "
            f"{entry.action_dim} and {entry.proprio_dim}"
        )


def _packing(action_dim: int, preprocessing: Preprocessing, inner: Any) -> tuple[int, int]:
    """Return the raw action dim and the number of raw actions in a packed one."""
    if action_dim == DYNAMIC:
        return DYNAMIC, 1
    if preprocessing.actions is None:
        frameskip = getattr(inner, "frameskip", 1) or 1
        return (action_dim // frameskip, frameskip) if action_dim % frameskip == 0 else (action_dim, 1)
    raw = len(preprocessing.actions[0])
    if action_dim % raw:
        raise ModelLoadError(f"action_dim {action_dim} does not pack actions of {raw} entries, as its statistics have")
    return raw, action_dim // raw


def _check_device(parameters: list[torch.nn.Parameter], device: str) -> None:
    found = {parameter.device.type for parameter in parameters} - {torch.device(device).type}
    if found:
        raise ModelLoadError(f"asked for {device}, but its weights are on {', '.join(sorted(found))}")
