"""Tell evidence of an official model from that of anything else: `python scripts/check_evidence.py RUN_MANIFEST`.

Prints what speaks against it, and exits with 1 where something does.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.weights.architectures import model_config

UPSTREAM = "facebookresearch/jepa-wms"


def main(path: str) -> int:
    """Print the doubts about one manifest."""
    manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    doubts = list(all_doubts(manifest["status"], manifest["input_summary"].get("runtime_version", {})))
    print("\n".join(doubts) or "an official model")
    return 1 if doubts else 0


def all_doubts(status: str, identity: Mapping[str, Any]) -> Iterator[str]:
    """Yield what speaks against a passed run of an official model, by what its manifest says of code and weights."""
    kind, _, name = str(identity.get("source", "")).partition(":")
    if status != "passed":
        yield f"the run {status}"
    if kind not in ("hub", "native") or name not in CATALOG:
        yield f"its source is {identity.get('source')!r}, no official model's"
        return
    if identity.get("pretrained") is False:
        yield "its weights are not the published ones: pretrained is false"
    yield from _doubts_of_hub(identity) if kind == "hub" else _doubts_of_native(identity)
    expected, got = parameter_count(name), identity.get("parameter_count", 0)
    if got < expected:
        yield f"it has {got} parameters; {name} has {expected}"
    if not identity.get("weights_digest"):
        yield "it has no digest of its weights"


def _doubts_of_hub(identity: Mapping[str, Any]) -> Iterator[str]:
    if identity.get("repository") != UPSTREAM:
        yield f"its code is of {identity.get('repository')!r}, not of {UPSTREAM}"
    if not re.fullmatch("[0-9a-f]{40}", str(identity.get("revision", ""))):
        yield f"its revision is {identity.get('revision', '')!r}, no commit"


def _doubts_of_native(identity: Mapping[str, Any]) -> Iterator[str]:
    if not identity.get("checkpoint_digest"):
        yield "it has no checkpoint"


def parameter_count(name: str) -> int:
    """Return how many parameters an official model has, encoder included."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Jepa(model_config(CATALOG[name])).parameters())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
