"""Model sources by name: what may stand after `--model NAME=`."""

from __future__ import annotations

import torch

from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.models import tiny
from worldforge_jepa_server.models.contract import WorldModel

SOURCES = {"tiny": tiny.load}


class ModelLoadError(Exception):
    """A model cannot be served; the message says why."""


def load_model(source: ModelSource, device: str) -> WorldModel:
    """Load one model onto `device`.

    Raises:
        ModelLoadError: an unknown source or option, a device that is not there, or weights that do not fit.
    """
    if source.source not in SOURCES:
        raise ModelLoadError(f"model {source.name}: unknown source {source.source!r}; known: {', '.join(SOURCES)}")
    if source.options:
        raise ModelLoadError(f"model {source.name}: {source.source} takes no options, got {', '.join(source.options)}")
    try:
        torch.empty(0, device=device)
        return SOURCES[source.source](device, source.name)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelLoadError(f"model {source.name}: {error}") from error
