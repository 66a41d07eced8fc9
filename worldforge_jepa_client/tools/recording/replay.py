"""Send recorded calls to a server, one after the other, and say what it answers differently.

Exits with 0 where all answers agree within the tolerance, 2 where one differs, 1 for an error. Contexts are created
anew. Calls that ran out of time are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.inputs.scalars import as_float
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_client.tools.recording.file import read
from worldforge_jepa_client.tools.recording.resend import Replayed, replay
from worldforge_jepa_client.v1 import jepa_pb2

_DIFFERS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser, timeout=60.0)
    parser.add_argument("file", type=Path, help="the recording")
    parser.add_argument("--model", default="", help="send every call to this model (default: the recorded one)")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="relative difference allowed (default: 1e-5)")
    parser.add_argument("--json", action="store_true", help="print JSON, with each call")


def run(arguments: argparse.Namespace) -> int:
    """Replay, print what differs, and return 0 if nothing does."""
    tolerance = as_float(arguments.tolerance, "tolerance")
    with connection.connect(arguments) as client:
        models = {"recorded": _recorded_models(arguments.file), "now": _digests(client.models())}
    calls = []
    with Progress("replaying") as bar:
        for call in replay(read(arguments.file), arguments):
            calls.append(call)
            bar.show(note=f"call {call.number}")
    differing = [call for call in calls if call.difference and call.difference.beyond(tolerance)]
    if arguments.json:
        print(json.dumps({"models": models, "differing": len(differing), "calls": [call.figures() for call in calls]}))
    else:
        print("\n".join(_lines(models, calls, differing)))
    return _DIFFERS if differing else 0


def _recorded_models(path: Path) -> dict[str, str]:
    """Return the digests of the models that the recorded server had, from the call that stands first."""
    first = next(read(path), None)
    listed = jepa_pb2.ListModelsResponse.FromString(first.responses[0]) if first and first.responses else None
    return _digests(wire.model_spec(model) for model in listed.models) if listed else {}


def _digests(specs: Iterable[ModelSpec]) -> dict[str, str]:
    return {spec.name: f"{spec.checkpoint_digest or 'no digest'}, {spec.dtype} on {spec.device}" for spec in specs}


def _lines(models: dict[str, dict[str, str]], calls: list[Replayed], differing: list[Replayed]) -> list[str]:
    lines = [f"{when:14} {name}: {said}" for when, found in models.items() for name, said in found.items()]
    by_method: dict[str, list[Replayed]] = defaultdict(list)
    for call in calls:
        by_method[call.method].append(call)
    lines += [_summary(method, each) for method, each in by_method.items()]
    lines += [f"  call {call.number} ({call.method}): {_words(call)}" for call in differing]
    compared = sum(call.difference is not None for call in calls)
    left_out = f", {len(calls) - compared} left out" if compared < len(calls) else ""
    return [*lines, f"{len(differing)} of {compared} calls differ{left_out}"]


def _summary(method: str, calls: list[Replayed]) -> str:
    found = [call.difference for call in calls if call.difference]
    parts = [f"{len(found):6} calls"]
    if best := [each.same_best for each in found if each.same_best is not None]:
        parts.append(f"same best {sum(best)} of {len(best)}")
    if ranks := [each.rank_correlation for each in found if each.rank_correlation is not None]:
        parts.append(f"rank correlation at least {min(ranks):.6f}")
    if found:
        parts.append(f"relative difference at most {max(each.relative for each in found):.3g}")
        before, now = (statistics.median(getattr(call, name) for call in calls) for name in ("recorded_ms", "ms"))
        parts.append(f"{before:.1f} ms before, {now:.1f} ms now")
    return f"{method:14} {', '.join(parts)}"


def _words(call: Replayed) -> str:
    found: Any = call.difference
    if found.problem:
        return str(found.problem)
    best = "" if found.same_best is not False else ", another best candidate"
    return f"relative difference {found.relative:.3g}{best}"
