"""Requests of the Open Inference Protocol as calls of the runtime, and the runtime's errors in the protocol's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from worldforge_jepa_client.contract.spec import ModelSpec, Objective
from worldforge_jepa_client.contract.types import Observation, Scene, ScoreCall, ScoreOptions
from worldforge_jepa_client.errors import JepaError, invalid, nearest
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.rpc.open_inference import tensors

_FIELDS = {
    "observation_visual": "context.observation.visual",
    "observation_proprio": "context.observation.proprio",
    "goal_visual": "context.goal.visual",
    "goal_proprio": "context.goal.proprio",
    "action_history": "context.action_history",
    "action_candidates": "action_candidates",
}
_PARAMETERS: dict[str, tuple[Any, str]] = {
    "objective": (str, "a string"),
    "proprio_weight": ((float, int), "a number"),
    "actions_are_normalized": (bool, "a boolean"),
}
_NAMES = {field: name for name, field in _FIELDS.items()} | {f"options.{name}": name for name in _PARAMETERS}
_NAMES |= {"context.observation": "observation_visual", "context.goal": "goal_visual", "model": "model_name"}


def score_call(request: Any, spec: ModelSpec) -> ScoreCall:
    """Decode a ModelInferRequest.

    Raises:
        InvalidArgumentError: an input or parameter that is unknown, missing, given twice or malformed.
    """
    arrays = _inputs(request)
    if "action_candidates" not in arrays:
        raise invalid("action_candidates", "is missing", Reason.MISSING_FIELD)
    scene = Scene(_observation(arrays, "observation"), _observation(arrays, "goal"), arrays.get("action_history"))
    return ScoreCall(scene, arrays["action_candidates"], spec.name, _options(request.parameters))


def requested(request: Any, outputs: Sequence[str]) -> list[str]:
    """Return the names of the outputs asked for, all of them where none is named.

    Raises:
        InvalidArgumentError: one is unknown, or is to be returned in another way than inline.
    """
    for output in request.outputs:
        _check_tensor(output, "outputs", outputs)
    return [output.name for output in request.outputs] or list(outputs)


def renamed(error: JepaError) -> JepaError:
    """Return an error that names its field as the protocol does."""
    name = _NAMES.get(error.field, error.field)
    text = str(error).removeprefix(error.field).removeprefix(": ").strip()
    return type(error)(text, reason=error.reason, field=name, retry_after=error.retry_after)


def _inputs(request: Any) -> dict[str, NDArray[Any]]:
    for tensor in request.inputs:
        _check_tensor(tensor, "inputs", list(_FIELDS))
    raws: Sequence[bytes | None] = request.raw_input_contents or [None] * len(request.inputs)
    if len(raws) != len(request.inputs):
        problem = f"has {len(raws)} entries for {len(request.inputs)} inputs"
        raise invalid("raw_input_contents", problem, Reason.DATA_LENGTH_MISMATCH)
    arrays: dict[str, NDArray[Any]] = {}
    for tensor, raw in zip(request.inputs, raws, strict=True):
        if tensor.name in arrays:
            raise invalid(tensor.name, "comes twice", Reason.CONFLICTING_FIELDS)
        arrays[tensor.name] = tensors.decode(tensor, raw)
    return arrays


def _check_tensor(tensor: Any, field: str, known: Sequence[str]) -> None:
    """Refuse a tensor that is unknown, or whose parameters, such as a shared-memory region, ask for more."""
    if tensor.name not in known:
        raise _unknown(field, tensor.name, known)
    if tensor.parameters:
        problem = f"has the parameters {', '.join(sorted(tensor.parameters))}; expected none, and the data inline"
        raise invalid(tensor.name, problem, Reason.UNEXPECTED_FIELD)


def _observation(arrays: dict[str, NDArray[Any]], name: str) -> Observation | None:
    visual, proprio = arrays.get(f"{name}_visual"), arrays.get(f"{name}_proprio")
    if visual is None and proprio is not None:
        raise invalid(f"{name}_visual", f"is missing, and {name}_proprio is set", Reason.MISSING_FIELD)
    return None if visual is None else Observation(visual, proprio)


def _options(parameters: Any) -> ScoreOptions:
    given: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if name not in _PARAMETERS:
            raise _unknown("parameters", name, list(_PARAMETERS))
        types, expected = _PARAMETERS[name]
        value = getattr(parameter, parameter.WhichOneof("parameter_choice") or "", None)
        if not isinstance(value, types) or isinstance(value, bool) != (types is bool):
            raise invalid(name, f"is {value!r}; expected {expected}", Reason.INVALID_TYPE)
        given[name] = value
    if "objective" in given:
        given["objective"] = _objective(given["objective"])
    return ScoreOptions(**given)


def _objective(text: str) -> Objective:
    try:
        return Objective(text.lower())
    except ValueError:
        known = ", ".join(item.value for item in Objective)
        raise invalid("objective", f"is {text!r}; expected one of {known}", Reason.UNKNOWN_OBJECTIVE) from None


def _unknown(field: str, name: str, known: Sequence[str]) -> JepaError:
    problem = f"has {name!r}; expected some of {', '.join(known)}{nearest(name, known)}"
    return invalid(field, problem, Reason.UNKNOWN_FIELD)
