"""Models from any Python callable: `python:package.module:factory`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from worldforge_jepa_client.contract.spec import Identity
from worldforge_jepa_server.models.contract import ModelLoadError, ServedModel
from worldforge_jepa_server.models.external.adapt import adapt
from worldforge_jepa_server.models.external.isolation import isolated
from worldforge_jepa_server.models.precision import FLOAT32, Execution

_HISTORY = {"info": False, "candidates": True}


def load(
    target: str,
    *,
    device: str,
    name: str,
    execution: Execution = FLOAT32,
    error_detail: bool = False,
    past_actions: str = "info",
    **options: str,
) -> ServedModel:
    """Load from the callable `target`, `package.module:factory`, returns: a model or (model, preprocessor).

    The callable gets the options of the source as keywords, and `device` if it has such a parameter. `past_actions` is
    ours: `candidates` has `get_cost` get past actions before the candidates, by its older contract.

    Raises:
        ModelLoadError: it cannot be imported or called so, it failed, or it returned no model.
    """
    if past_actions not in _HISTORY:
        raise ModelLoadError(f"past_actions={past_actions}: expected info or candidates")
    with isolated():
        factory = _import(target)
        arguments = _arguments(factory, target, device, options)
        try:
            loaded = factory(**arguments)
        except (Exception, SystemExit) as error:
            raise ModelLoadError(f"python:{target} failed with {type(error).__name__}: {error}") from error
    return adapt(
        loaded,
        name=name,
        source=f"python:{target}",
        device=device,
        identity=_identity(target),
        execution=execution,
        error_detail=error_detail,
        past_in_candidates=_HISTORY[past_actions],
    )


def _identity(target: str) -> Identity:
    """Of the package: its name, and its `__version__` if it has one."""
    package = target.partition(":")[0].partition(".")[0]
    version = getattr(sys.modules[package], "__version__", "")
    return Identity(package, version if isinstance(version, str) else "")


def _import(target: str) -> Callable[..., Any]:
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ModelLoadError(f"python:{target}: expected python:package.module:factory")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:
        raise ModelLoadError(f"python:{target}: importing it failed with {type(error).__name__}: {error}") from error
    if not callable(factory):
        raise ModelLoadError(f"python:{target} is a {type(factory).__name__}, expected a callable")
    return factory  # type: ignore[no-any-return]


def _arguments(factory: Callable[..., Any], target: str, device: str, options: dict[str, str]) -> dict[str, str]:
    signature = inspect.signature(factory)
    arguments = {"device": device, **options} if "device" in signature.parameters else options
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ModelLoadError(
            f"{target}{signature} cannot be called with {', '.join(arguments) or 'nothing'}: {error}"
        ) from None
    return arguments
