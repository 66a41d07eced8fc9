"""Print what each served model is, takes and allows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from worldforge_jepa_client.contract.spec import DYNAMIC, ModelSpec, TensorSpec
from worldforge_jepa_client.tools import connection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser)
    parser.add_argument("--model", help="a served model's name (default: all)")
    parser.add_argument("--json", action="store_true", help="print JSON, every field of GetModel")


def run(arguments: argparse.Namespace) -> int:
    """Print the models, the default one first, and return 0."""
    with connection.connect(arguments) as client:
        specs = client.models() if arguments.model is None else [client.model(arguments.model)]
    if arguments.json:
        print(json.dumps([asdict(spec) for spec in specs], indent=2))
    else:
        print("\n\n".join("\n".join(_lines(spec)) for spec in specs))
    return 0


def _lines(spec: ModelSpec) -> Iterator[str]:
    yield f"{spec.name}: {spec.source}, {spec.parameter_count:,} parameters, {spec.dtype} on {spec.device}"
    for title, text in _facts(spec).items():
        if text:
            yield f"  {title:12} {text}"


def _facts(spec: ModelSpec) -> dict[str, str]:
    limits, memory = spec.limits, spec.memory
    return {
        "visual": f"{_tensor(spec.visual)}, T up to {limits.max_context_frames}, its own is {spec.context_window}",
        "proprio": _tensor(spec.proprio) if spec.proprio else "none",
        "candidates": f"{_tensor(spec.action_candidates)}, A = {spec.frameskip} x {spec.raw_action_dim}",
        "limits": f"{limits.max_samples:,} samples, horizon {limits.max_horizon}",
        "objective": f"{spec.objective.value}, proprio weight {spec.proprio_weight:g}",
        "environment": spec.environment,
        "memory": f"{memory.weights_bytes:,} bytes, {memory.bytes_per_sample:,} for a candidate" if memory else "",
        "digest": spec.checkpoint_digest,
    }


def _tensor(spec: TensorSpec) -> str:
    shape = ", ".join("any" if size == DYNAMIC else str(size) for size in spec.shape)
    return f"({shape}) {'|'.join(spec.dtypes)}"
