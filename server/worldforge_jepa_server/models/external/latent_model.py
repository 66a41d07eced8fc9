"""Models with the surface of `facebookresearch/jepa-wms` behind the model contract.

Such a model has `encode(observation)`, batch first, which gets `act=False` for goals where it takes `act`, and
`unroll(latents, act_suffix)`, time first. Where it also has `model.encode_act` and `model.forward_pred`, as upstream's
have, it is unrolled step by step with those: upstream's own `unroll` takes no actions from before the newest frame, and
keeps every frame it predicts.

Letters: B batch, T context frames, H horizon, A packed action dim, P proprio.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.errors import InternalError, InvalidArgumentError
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.external.isolation import wrap_model_errors
from worldforge_jepa_server.models.external.preprocess import UNCHANGED, Preprocessing
from worldforge_jepa_server.models.precision import FLOAT32, Execution


class ExternalLatentModel:
    """A model object of upstream's surface, in inference mode.

    Args:
        model: already on the spec's device.
        spec: its published spec.
        execution: its code runs under autocast accordingly.
        preprocessing: changes to observations before `encode`.
        error_detail: put the text of its exceptions into errors.
    """

    def __init__(
        self,
        model: Any,
        spec: ModelSpec,
        execution: Execution = FLOAT32,
        preprocessing: Preprocessing = UNCHANGED,
        error_detail: bool = False,
    ) -> None:
        self._model = model
        self._spec = spec
        self._execution = execution
        self._preprocessing = preprocessing
        self._error_detail = error_detail
        self._tells_goals = _takes(model.encode, "act")
        self._kind: type[Any] = Tensor  # of what `encode` returns, and hence `unroll` expects: a tensor or some mapping

    @property
    def spec(self) -> ModelSpec:
        """See `WorldModel.spec`."""
        return self._spec

    @torch.no_grad()
    def encode(self, observation: Observation) -> Latents:
        """See `WorldModel.encode`; latents keep upstream's axes, e.g. visual [B, T, 1, grid, grid, D]."""
        visual, proprio = self._preprocessed(observation)
        role = {"act": not observation.is_goal} if self._tells_goals else {}
        with self._running("encode"):
            encoded = self._model.encode(visual if proprio is None else {"visual": visual, "proprio": proprio}, **role)
        if (proprio is None) == (self._spec.proprio is None):
            self._kind = type(encoded)
        latents = _latents(encoded, f"{self._spec.name}.encode")
        if latents.visual.shape[:2] != visual.shape[:2]:
            shape = tuple(latents.visual.shape)
            raise _malformed(f"{self._spec.name}.encode", f"latents {shape} for frames {tuple(visual.shape)}")
        return _copy(latents)  # the model may return a buffer that its next call overwrites

    @torch.no_grad()
    def unroll(self, latents: Latents, actions: Tensor, action_history: Tensor | None) -> Iterator[Latents]:
        """See `WorldModel.unroll`."""
        if self._spec.proprio is not None and latents.proprio is None:
            raise InvalidArgumentError(
                f"is missing; model {self._spec.name} predicts from visual and proprio, raw (1, T, "
                f"{self._spec.proprio_dim})",
                reason=Reason.MISSING_FIELD,
                field="context.observation.proprio",
            )
        if can_step(self._model):
            yield from self._steps(latents, actions, action_history)
        else:
            yield from self._at_once(latents, actions)

    def normalize_actions(self, actions: Tensor) -> Tensor:
        """See `WorldModel.normalize_actions`."""
        with wrap_model_errors(f"{self._spec.name}.normalize_actions", self._error_detail):
            return normalized(actions, self._spec, self._preprocessing)

    def _preprocessed(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        with wrap_model_errors(f"{self._spec.name}.transform", self._error_detail):
            visual = self._preprocessing.frames(observation.visual)
        if can_step(self._model):
            visual = _without_odd_line(visual)
        proprio = observation.proprio
        return visual, None if proprio is None else self._preprocessing.normalize("proprio", proprio)

    @contextmanager
    def _running(self, method: str) -> Iterator[None]:
        errors = wrap_model_errors(f"{self._spec.name}.{method}", self._error_detail)
        with errors, self._execution.autocast(self._spec.device):
            yield

    def _steps(self, latents: Latents, actions: Tensor, history: Tensor | None) -> Iterator[Latents]:
        predictor, window, batch = self._model.model, self._spec.context_window, actions.shape[1]
        taken = actions.clone() if history is None else torch.cat([history.expand(-1, batch, -1), actions])
        frames, past = _expand(_copy(latents), batch, window), len(taken) - len(actions)
        with self._running("encode_act"):
            features = predictor.encode_act(taken.transpose(0, 1))
        # Grown and sliced in the way of upstream's unroll: other strides would give other last bits.
        acted = features[:, :past]
        for step in range(past, len(taken)):
            acted = torch.cat([acted, features[:, step : step + 1]], dim=1)
            with self._running("forward_pred"):
                window_acts = acted[:, -frames.visual.shape[1] :]
                visual, _, proprio = predictor.forward_pred(frames.visual, window_acts, frames.proprio)
                newest = _copy(Latents(visual[:, -1:], self._next_proprio(frames.proprio, proprio, taken[step])))
            yield newest
            frames = _append(frames, newest, window)

    def _next_proprio(self, before: Tensor | None, predicted: Tensor | None, action: Tensor) -> Tensor | None:
        if before is None:
            return None
        if getattr(self._model, "proprio_mode", "predict_proprio") == "compute_new_pose":
            # This predictor takes a pose and does not give one: the action itself moves it, by unroll's own function.
            move = inspect.unwrap(type(self._model).unroll).__globals__["compute_new_pose"]
            moved: Tensor = move(before[:, -1:], action[:, None])
            return moved
        return None if predicted is None else predicted[:, -1:]

    def _at_once(self, latents: Latents, actions: Tensor) -> Iterator[Latents]:
        horizon, batch = actions.shape[:2]
        parts = {name: part for name, part in vars(_copy(latents)).items() if part is not None}
        what = f"{self._spec.name}.unroll"
        with self._running("unroll"):
            context = parts["visual"] if issubclass(self._kind, Tensor) else self._kind(parts)
            predicted = _copy(_latents(self._model.unroll(context, act_suffix=actions.clone()), what))
        for part in (predicted.visual, predicted.proprio):
            if part is not None and (part.ndim < 2 or len(part) < horizon or part.shape[1] != batch):
                shape = tuple(part.shape)
                raise _malformed(what, f"latents {shape} for {horizon} actions of {batch} candidates, time first")
        for step in range(-horizon, 0):
            proprio = None if predicted.proprio is None else predicted.proprio[step].unsqueeze(1)
            yield Latents(predicted.visual[step].unsqueeze(1), proprio)


def normalized(actions: Tensor, spec: ModelSpec, preprocessing: Preprocessing = UNCHANGED) -> Tensor:
    """Normalize raw packed actions [..., A], each raw action with the published statistics; else by the preprocessor.

    Raises:
        InternalError: the preprocessor returned no finite actions of the same shape.
    """
    if spec.normalization is None:
        return preprocessing.normalize_actions(actions)
    raw: Tensor = actions.unflatten(-1, (spec.frameskip, spec.raw_action_dim))
    mean, std = (raw.new_tensor(value) for value in (spec.normalization.action_mean, spec.normalization.action_std))
    return ((raw - mean) / std).flatten(-2)


def can_step(model: Any) -> bool:
    """Return whether the model can be unrolled frame by frame, and hence from several context frames."""
    inner = getattr(model, "model", None)
    return callable(getattr(inner, "forward_pred", None)) and callable(getattr(inner, "encode_act", None))


def _takes(function: Any, name: str) -> bool:
    """Return whether a function takes a keyword; False where its signature is not known."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def _without_odd_line(visual: Tensor) -> Tensor:
    """Drop the last row or column where the sides differ by one.

    There upstream's square crop starts at 0 or 1 by chance; elsewhere it is the central one.
    """
    height, width = visual.shape[-2:]
    return visual[..., : min(height, width), : min(height, width)] if abs(height - width) == 1 else visual


def _latents(value: Any, what: str) -> Latents:
    if isinstance(value, Tensor):
        parts = {"visual": value}
    else:
        names = value.keys() if hasattr(value, "keys") else ()
        parts = {name: value[name] for name in ("visual", "proprio") if name in names}
    if "visual" not in parts:
        raise _malformed(what, f"a {type(value).__name__} without a visual tensor")
    for name, part in parts.items():
        if not (isinstance(part, Tensor) and part.is_floating_point()):
            got = str(part.dtype) if isinstance(part, Tensor) else type(part).__name__
            raise _malformed(what, f"{name} latents of type {got}; expected a tensor of floating point")
    return Latents(**parts)


def _malformed(what: str, got: str) -> InternalError:
    return InternalError(f"{what} returned {got}", reason=Reason.INVALID_LATENTS)


def _copy(latents: Latents) -> Latents:
    return Latents(latents.visual.clone(), None if latents.proprio is None else latents.proprio.clone())


def _expand(latents: Latents, batch: int, window: int) -> Latents:
    def newest(part: Tensor) -> Tensor:
        return part.expand(batch, *part.shape[1:])[:, -window:]

    return Latents(newest(latents.visual), None if latents.proprio is None else newest(latents.proprio))


def _append(frames: Latents, newest: Latents, window: int) -> Latents:
    visual = torch.cat([frames.visual, newest.visual], dim=1)[:, -window:]
    if frames.proprio is None or newest.proprio is None:
        return Latents(visual)
    return Latents(visual, torch.cat([frames.proprio, newest.proprio], dim=1)[:, -window:])
