"""Score synthetic candidates through the real path, WorldForge's provider where that is installed, and keep evidence.

Nothing is downloaded. A run that fails leaves its evidence too, and exits with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from worldforge_jepa_client.contract.spec import ModelSpec, Objective
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.inputs.synthetic import digest, synthetic_arrays
from worldforge_jepa_client.provider import make_provider
from worldforge_jepa_client.provider.redaction import REDACTED, redacted
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_client.rpc.channel import default_target
from worldforge_jepa_client.rpc.credentials import Credentials
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.tools.local_server import running_server
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_client.tools.run_manifest import run_manifest

Summary = dict[str, Any]

_PUBLIC = ("samples", "horizon", "seed", "action_dim", "history", "image_size", "objective", "timeout")
"""The flags whose values the manifest has."""
_OPTION = re.compile(r"=[^,=]*[/\\@][^,]*")  # a path or an address as a model's option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser, timeout=60.0)
    parser.set_defaults(target=None)  # a target of the environment stays out of the evidence
    parser.add_argument("--start", action="store_true", help="start a server here with --model, and stop it at the end")
    parser.add_argument(
        "--model", help="a served model's name; of a server to start NAME or NAME=SOURCE[,key=value...] (default: tiny)"
    )
    parser.add_argument("--samples", type=int, default=8, help="candidates (default: 8)")
    parser.add_argument("--horizon", type=int, default=4, help="actions of a candidate (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic inputs (default: 0)")
    parser.add_argument("--action-dim", type=int, help="entries of a packed action (default: what the model publishes)")
    parser.add_argument("--history", type=int, help="observation frames (default: as many as the model looks back on)")
    parser.add_argument("--image-size", type=int, help="side of the images, px (default: the model's, or 64)")
    parser.add_argument("--objective", choices=[item.value for item in Objective], help="default: the model's")
    parser.add_argument("--json-output", type=Path, help="where to write the summary")
    parser.add_argument("--run-manifest", type=Path, help="where to write WorldForge's run manifest")


def run(arguments: argparse.Namespace) -> int:
    """Run, write what was asked for, and return 0 if scores came back."""
    started = time.perf_counter()
    summary: Summary = {"provider": "jepa-wms", "capability": "score", "provider_events": []}
    try:
        with Progress("scoring"), _runtime(arguments) as runtime:
            _smoke(runtime, arguments, summary)
        problem = ""
    except Exception as error:  # whatever went wrong is what the evidence is to say
        kind, problem = error.reason if isinstance(error, JepaError) else type(error).__name__, str(error)
        summary["error"] = {"type": kind.lower(), "message": redacted(problem)}
    summary["total_ms"] = (time.perf_counter() - started) * 1000
    _write(summary, arguments)
    return _report(summary, problem)


@contextlib.contextmanager
def _runtime(arguments: argparse.Namespace) -> Iterator[GrpcRuntime]:
    with contextlib.ExitStack() as stack:
        target, model = arguments.target or default_target(), arguments.model
        shown = connection.credentials(arguments)
        if arguments.start:
            target = stack.enter_context(running_server("--model", model or "tiny"))
            model, shown = (model or "tiny").partition("=")[0], Credentials("", "", "", "")
        runtime = GrpcRuntime(target, model=model, timeout=arguments.timeout, **shown.keywords())
        yield stack.enter_context(runtime)


def _smoke(runtime: GrpcRuntime, arguments: argparse.Namespace, summary: Summary) -> None:
    """Score once, noting each thing in the summary as soon as it is known."""
    spec = runtime.client.model(runtime.model)
    summary["runtime_version"] = _versions(spec)
    arrays = synthetic_arrays(
        spec,
        samples=arguments.samples,
        horizon=arguments.horizon,
        seed=arguments.seed,
        action_dim=arguments.action_dim,
        frames=arguments.history,
        image_size=arguments.image_size,
    )
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    objective = arguments.objective or spec.objective.value
    summary["inputs"] = {
        "seed": arguments.seed,
        "objective": objective,
        "shapes": shapes,
        "digest": digest(arrays),
    }
    candidates = arrays.pop("action_candidates")
    info = {**arrays, "objective": objective}
    result = summary["result"] = _score(runtime, info, candidates, summary)
    summary["score_summary"] = {
        "candidate_count": len(result["scores"]),
        "lower_is_better": result["lower_is_better"],
        "best_index": result["best_index"],
        "best_score": result["scores"][result["best_index"]],
    }


def _score(runtime: GrpcRuntime, info: Summary, candidates: object, summary: Summary) -> Summary:
    """Score through WorldForge's provider; where that is not installed, with the runtime that it would call."""
    try:
        provider = make_provider(
            target=runtime.client.target,
            model=runtime.model,
            timeout=runtime.client.timeout,
            **runtime.credentials.keywords(),
            event_handler=lambda event: summary["provider_events"].append(_public(event.to_dict())),
        )
    except ImportError:
        summary["path"] = "GrpcRuntime, as WorldForge is not installed here"
        return _score_without_worldforge(runtime, info, candidates)
    with contextlib.closing(provider):
        summary |= {"path": "WorldForge's provider", "health": provider.health().to_dict()}
        summary["profile"] = provider.profile().to_dict()  # asking for health, it has learnt the model's name
        result: Summary = provider.score_actions(info=info, action_candidates=candidates).to_dict()
        return result


def _score_without_worldforge(runtime: GrpcRuntime, info: Summary, candidates: object) -> Summary:
    result = runtime.score_actions(model_path="default", info=info, action_candidates=candidates)
    if "error" in result:
        raise JepaError(result["error"]["message"], reason=result["error"]["type"])
    return result


def _versions(spec: ModelSpec) -> Summary:
    """Return the versions of both packages, and the served model's identity."""
    return {
        "worldforge_jepa": version("worldforge-jepa"),
        "worldforge": _version_or_none("worldforge-ai"),
        "model": spec.name,
        "device": spec.device,
        "dtype": spec.dtype,
        **spec.provenance,
    }


def _public(event: Summary) -> Summary:
    """Return an event as evidence has it, without addresses in its message."""
    return {**event, "message": redacted(event.get("message") or "")}


def _version_or_none(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _write(summary: Summary, arguments: argparse.Namespace) -> None:
    text = json.dumps(summary, indent=2, sort_keys=True, allow_nan=False) + "\n"
    artifacts = {"summary_json": arguments.json_output} if arguments.json_output else {}
    if arguments.json_output:
        _write_text(arguments.json_output, text)
    if arguments.run_manifest:
        manifest = run_manifest(
            command=_command(arguments),
            passed="error" not in summary,
            input_summary=_described(summary),
            input_digest=summary.get("inputs", {}).get("digest"),
            result_digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
            event_count=len(summary["provider_events"]),
            artifacts=artifacts,
        )
        _write_text(arguments.run_manifest, json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def _described(summary: Summary) -> Summary:
    """Return what the manifest says of a run: what went in, what ran and what came out; or the error."""
    described = {key: summary.get(key, {}) for key in ("inputs", "runtime_version", "score_summary")}
    return {**described, "error": summary["error"]} if "error" in summary else described


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _command(arguments: argparse.Namespace) -> list[str]:
    """Return the command with its defaults; the values of flags that may name a machine, a user or a secret are not."""
    values = {name: value for name, value in vars(arguments).items() if value is not None and name != "token"}
    flags = (
        [f"--{name.replace('_', '-')}", *_values(name, value)] for name, value in values.items() if value is not False
    )
    return ["worldforge-jepa", "smoke", *itertools.chain.from_iterable(flags)]


def _values(name: str, value: object) -> list[str]:
    if value is True:
        return []
    if name == "model":
        return [_OPTION.sub(f"={REDACTED}", str(value))]
    if isinstance(value, Path):
        return [value.name]
    return [str(value) if name in _PUBLIC else REDACTED]


def _report(summary: Summary, problem: str) -> int:
    if "error" in summary:
        kind = summary["error"]["type"]
        print(f"smoke failed: {kind}: {problem}{connection.advice(kind)}", file=sys.stderr)
        return 1
    scores, versions = summary["score_summary"], summary["runtime_version"]
    print(f"smoke passed through {summary['path']}")
    print(f"  model       {versions['model']} on {versions['device']}, torch {versions['torch']}")
    print(f"  best        {scores['best_index']} of {scores['candidate_count']}, score {scores['best_score']:.6g}")
    print(f"  took        {summary['result']['metadata']['timing']['total_us'] / 1000:.1f} ms on the server")
    return 0
