"""Write requests for load generators: for each method a -B file for ghz, and the same messages as JSON.

The messages of noise fit the served model. A file holds several: a unary call takes them in turns, a stream sends all,
the scene with the first. DeleteContext is left out, since no file can hold an id that the server has yet to give.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import PlanCall, Scene, ScoreCall, UnrollCall
from worldforge_jepa_client.inputs.scalars import as_int
from worldforge_jepa_client.inputs.synthetic import scene_of, synthetic_arrays
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.rpc.credentials import SYSTEM_ROOTS, Credentials
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.v1 import jepa_pb2

SERVICE = jepa_pb2.DESCRIPTOR.services_by_name["WorldModelService"].full_name
_PLAN_ITERATIONS, _LEAST_ELITES = 3, 2
_M = TypeVar("_M", bound=Message)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser)
    parser.add_argument("--model", default="", help="a served model's name (default: the server's default one)")
    parser.add_argument("--output", type=Path, default=Path("calldata"), help="the folder to fill (default: calldata)")
    parser.add_argument("--samples", type=int, default=32, help="candidates of a message (default: 32)")
    parser.add_argument("--horizon", type=int, default=6, help="actions of a candidate (default: 6)")
    parser.add_argument("--count", type=int, default=8, help="messages of a file (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Write the files, and print for each the command that uses it."""
    with connection.connect(arguments) as client:
        spec = client.model(arguments.model)
    shape = {name: getattr(arguments, name) for name in ("samples", "horizon", "count", "seed")}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for method, requests in calldata(spec, **shape).items():
        path = arguments.output / f"{method}.bin"
        path.write_bytes(delimited(requests))
        path.with_suffix(".json").write_text(as_json(requests), encoding="utf-8")
        flags = _ghz_flags(connection.credentials(arguments))
        print(f"ghz {flags} --call {SERVICE}/{method} -B {path} {arguments.target}")
    return 0


def _ghz_flags(shown: Credentials) -> str:
    """Return ghz's flags for credentials; the token stays in the environment, where the shell reads it."""
    files = {"--cacert": shown.cacert, "--cert": shown.cert, "--key": shown.key}
    flags = [f"{flag} {shlex.quote(str(path))}" for flag, path in files.items() if path and path != SYSTEM_ROOTS]
    if not (shown.cacert or shown.cert):
        flags.append("--insecure")
    if shown.token:
        header = r'"{\"authorization\":\"Bearer $WORLDFORGE_JEPA_TOKEN\"}"'
        flags += [f"{flag} {header}" for flag in ("--metadata", "--reflect-metadata")]
    return " ".join(flags)


def calldata(spec: ModelSpec, *, samples: int, horizon: int, count: int, seed: int) -> dict[str, list[Message]]:
    """Return `count` requests for each method by its name; equal seeds give equal requests.

    Args:
        spec: of the model that they are to fit.
        samples: candidates of each.
        horizon: actions of each candidate.
        count: how many, each with a scene of its own; on a stream all share the first scene.
        seed: of the noise.

    Raises:
        InvalidArgumentError: less than one sample, action or request, or a negative seed.
        FailedPreconditionError: the model does not publish the size of its actions.
    """
    count = as_int(count, "count", min=1)
    calls = [_score_call(spec, samples, horizon, seed + index) for index in range(count)]
    return {
        "ListModels": [jepa_pb2.ListModelsRequest()],
        "GetModel": [jepa_pb2.GetModelRequest(model=spec.name)],
        "Score": [wire.score_request(call) for call in calls],
        "ScoreStream": [_stream_request(call, first=call is calls[0]) for call in calls],
        "CreateContext": [wire.context_request(_scene(call), spec.name) for call in calls],
        "Encode": [_encode_request(call) for call in calls],
        "Unroll": [wire.unroll_request(_unroll_call(call)) for call in calls],
        "Plan": [
            wire.plan_request(_plan_call(call, samples, horizon, seed + index)) for index, call in enumerate(calls)
        ],
    }


def delimited(requests: list[Message]) -> bytes:
    """Return messages one after the other, each behind its length as a varint: what ghz takes with -B."""
    output = io.BytesIO()
    for request in requests:
        serialize_length_prefixed(request, output)
    return output.getvalue()


def parse_delimited(data: bytes, message_class: type[_M]) -> Iterator[_M]:
    """Yield the messages that `delimited` has written."""
    stream = io.BytesIO(data)
    while (message := parse_length_prefixed(message_class, stream)) is not None:
        yield message


def as_json(requests: list[Message]) -> str:
    """Return messages as a JSON array in protobuf's mapping, bytes in base64: what ghz takes with -D."""
    return json.dumps([MessageToDict(request) for request in requests])


def _score_call(spec: ModelSpec, samples: int, horizon: int, seed: int) -> ScoreCall:
    arrays = synthetic_arrays(spec, samples=samples, horizon=horizon, seed=seed)
    return ScoreCall(scene_of(arrays), arrays["action_candidates"], spec.name)


def _scene(call: ScoreCall) -> Scene:
    assert isinstance(call.scene, Scene)
    return call.scene


def _stream_request(call: ScoreCall, *, first: bool) -> Message:
    return wire.stream_request(_scene(call) if first else None, call.action_candidates, model=call.model)


def _encode_request(call: ScoreCall) -> Message:
    observation = _scene(call).observation
    assert observation is not None
    return wire.encode_request(observation, call.model, "float32")


def _unroll_call(call: ScoreCall) -> UnrollCall:
    """Of all latents only those of one candidate are asked for, which could be many megabytes."""
    return UnrollCall(call.scene, call.action_candidates, call.model, samples=(0,))


def _plan_call(call: ScoreCall, samples: int, horizon: int, seed: int) -> PlanCall:
    samples = max(samples, _LEAST_ELITES)
    elites = max(samples // 4, _LEAST_ELITES)
    planner = PlannerOptions(horizon=horizon, samples=samples, elites=elites, iterations=_PLAN_ITERATIONS)
    return PlanCall(call.scene, planner=planner, seed=seed, model=call.model)
