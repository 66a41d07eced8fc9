"""Model sources by name: those that `--model NAME=` takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models import devices
from worldforge_jepa_server.models.contract import ModelLoadError, ServedModel
from worldforge_jepa_server.models.external import factory, hub
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.models.native.weights import published
from worldforge_jepa_server.models.precision import OPTIONS as EXECUTION_OPTIONS
from worldforge_jepa_server.models.precision import Execution

_RESERVED = ("target", "device", "name", "execution", "error_detail")  # keywords that every source gets anyway

__all__ = ["SOURCES", "ModelLoadError", "load_model"]


@dataclass(frozen=True)
class SourceKind:
    """A loader for one kind of source.

    `load` gets the keywords `device`, `name`, `execution` and the options that were given; before them, where the kind
    has a `target`, what stands behind `KIND:`. With `options` None it knows itself which ones it takes. A `foreign`
    kind, whose code is not ours, also gets `error_detail`.
    """

    load: Callable[..., ServedModel]
    target: str = ""
    options: tuple[str, ...] | None = ()
    foreign: bool = False


SOURCES = {
    "tiny": SourceKind(tiny.load),
    "native": SourceKind(published.load, "NAME", published.OPTIONS),
    "hub": SourceKind(hub.load, "NAME", ("repo", "pretrained", "trust_repo", "heads"), foreign=True),
    "python": SourceKind(factory.load, "package.module:factory", None, foreign=True),
}


def load_model(source: ModelSource, device: str, error_detail: bool = False) -> ServedModel:
    """Load one model onto `device`; `error_detail` puts the text of a foreign model's exceptions into errors.

    Raises:
        ModelLoadError: an unknown source or option, a device that is not there, or weights that do not fit.
    """
    try:
        device = devices.chosen(device)
        chosen, target = _choose(source)
        _check_device(device)
        devices.use_device(device)
        options: dict[str, Any] = {key: value for key, value in source.options.items() if key not in EXECUTION_OPTIONS}
        execution = Execution.parse(source.options, device)
        if chosen.foreign:
            options["error_detail"] = error_detail
        return chosen.load(*target, device=device, name=source.name, execution=execution, **options)
    except ModelLoadError as error:
        raise ModelLoadError(f"model {source.name}: {error}") from error
    except Exception as error:  # an object of foreign code fails in ways of its own
        raise ModelLoadError(f"model {source.name}: {type(error).__name__}: {error}") from error


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:  # each build of torch in its own way
        raise ModelLoadError(f"device {device} cannot be used: {error}") from error


def _choose(source: ModelSource) -> tuple[SourceKind, tuple[str, ...]]:
    kind, _, target = source.source.partition(":")
    if kind not in SOURCES:
        raise ModelLoadError(f"unknown source {source.source!r}; known: {', '.join(map(_usage, SOURCES))}")
    chosen = SOURCES[kind]
    if bool(target) != bool(chosen.target):
        raise ModelLoadError(f"{source.source!r} is not {_usage(kind)}")
    _check_options(kind, chosen.options, source.options)
    return chosen, (target,) if target else ()


def _check_options(kind: str, own: tuple[str, ...] | None, given: Mapping[str, str]) -> None:
    if own is None:
        unknown, takes = [key for key in given if key in _RESERVED], "its own options"
    else:
        known = (*own, *EXECUTION_OPTIONS)
        unknown, takes = [key for key in given if key not in known], f"only the options {', '.join(known)}"
    if unknown:
        raise ModelLoadError(f"{kind} takes {takes}, got {', '.join(unknown)}")


def _usage(kind: str) -> str:
    return f"{kind}:{SOURCES[kind].target}" if SOURCES[kind].target else kind
