"""`make gpu-check`: the tests of `tests/gpu` on CUDA, and a table of each native model in `benchmarks/results/gpu.md`.

Needs torch, numpy, grpcio, grpcio-status, protobuf and pytest; where the server's other packages are here too, queue
and wire are measured. Weights are random.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.models.flops import Products, score_operations
from worldforge_jepa_client.contract.spec import Limits
from worldforge_jepa_client.tools.exit_code import exit_code
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.contract import Latents, Observation
from worldforge_jepa_server.models.devices import synchronize
from worldforge_jepa_server.models.native.jepa import Jepa
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.weights.architectures import model_config
from worldforge_jepa_server.models.precision import Execution

RESULT = Path("benchmarks/results/gpu.md")
DEVICE, SAMPLES, HORIZON, CHUNK = "cuda", 300, 6, 100
ROUNDS = 5
EXECUTIONS = (Execution(), Execution(torch.bfloat16), Execution(torch.bfloat16, compiled=True))
COLUMNS = (
    "model",
    "precision",
    "300 x 6, s",
    "TFLOP/s",
    "peak TFLOP/s",
    "share of peak",
    "encode, ms",
    "queue and wire, ms",
)


def main() -> int:
    """Test, measure and write; return 1 where there is no CUDA device, else pytest's exit status."""
    if not torch.cuda.is_available():
        print("gpu-check: torch finds no CUDA device here; nothing was tested or measured", file=sys.stderr)
        return 1
    environment = {**os.environ, "WORLDFORGE_JEPA_TEST_DEVICE": DEVICE}
    command = [sys.executable, "-m", "pytest", "--noconftest", "-c", os.devnull, "--rootdir", ".", "tests/gpu"]
    status = subprocess.run(command, env=environment, check=False).returncode
    lines = [_line(COLUMNS), _line(("---",) * len(COLUMNS))]
    lines += [_line(row) for name in CATALOG for row in _rows(name)]
    RESULT.write_text(f"{_heading(status)}\n\n{os.linesep.join(lines)}\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))
    return status


def _heading(status: int) -> str:
    tests = "passed" if status == 0 else f"**failed** ({status})"
    return (
        f"### {torch.cuda.get_device_name()}, torch {torch.__version__}: {SAMPLES} candidates, horizon {HORIZON}, "
        f"{CHUNK} at a time, random weights; tests {tests}"
    )


def _rows(name: str) -> Iterator[tuple[str, ...]]:
    operations = score_operations(name, SAMPLES, HORIZON).all
    products, overhead = Products.of(name), _overhead(name)
    for execution in EXECUTIONS:
        model = _model(name, execution)
        frames = _frames(model)
        start = model.encode(frames)
        score = _seconds(partial(_score, model, start))
        encode = _seconds(partial(model.encode, frames))
        peak = products.flops / _seconds(products.on(DEVICE, execution.dtype))
        precision = execution.precision + (" compiled" if execution.compiled else "")
        rates = (f"{operations / score / 1e12:.1f}", f"{peak / 1e12:.1f}", f"{operations / score / peak:.0%}")
        yield (
            name,
            precision,
            f"{score:.4f}",
            *rates,
            f"{1e3 * encode:.1f}",
            overhead if execution == Execution() else "-",
        )
        del model, start
        torch.cuda.empty_cache()


def _model(name: str, execution: Execution) -> NativeModel:
    with torch.random.fork_rng(), torch.device(DEVICE):
        torch.manual_seed(0)
        module = Jepa(model_config(CATALOG[name]))
    limits = Limits(SAMPLES, HORIZON, 1)
    return NativeModel(module, name=name, source="", digest="", device=DEVICE, limits=limits, execution=execution)


def _frames(model: NativeModel) -> Observation:
    size, proprio = model.spec.image_size, model.spec.proprio_dim
    visual = torch.zeros(1, 1, 3, size, size, dtype=torch.uint8, device=DEVICE)
    return Observation(visual, torch.zeros(1, 1, proprio, device=DEVICE) if model.spec.proprio else None)


def _score(model: NativeModel, start: Latents) -> None:
    actions = torch.randn(HORIZON, SAMPLES, model.spec.action_dim, device=DEVICE)
    costs = []
    for chunk in actions.split(CHUNK, dim=1):
        *_, last = model.unroll(start, chunk, None)
        costs.append(distance(last, start, model.spec.objective, model.spec.proprio_weight))
    torch.cat(costs).cpu()


def _seconds(work: Callable[[], object]) -> float:
    """Return the median of some rounds after two that warm up."""
    taken = []
    for _ in range(ROUNDS + 2):
        synchronize(DEVICE)
        began = time.perf_counter()
        work()
        synchronize(DEVICE)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:])


def _overhead(name: str) -> str:
    """Return the ms of a stream's call beside encoding, unrolling and distance; "-" without the server's packages."""
    if any(find_spec(package) is None for package in ("grpc_health", "grpc_reflection", "grpc_status", "safetensors")):
        return "-"
    from benchmarks.servers import serving
    from worldforge_jepa_client import Client

    flags = ("--model", f"{name}=native:{name},random=true", "--device", DEVICE)
    with serving(*flags) as server, Client(server.target, timeout=600) as client:
        spec, beside = client.model(), []
        frame: dict[str, Any] = {"visual": np.zeros((3, spec.image_size, spec.image_size), np.uint8)}
        if spec.proprio:
            frame["proprio"] = np.zeros(spec.proprio_dim, np.float32)
        candidates = np.zeros((1, SAMPLES, HORIZON, spec.action_dim), np.float32)
        with client.session(observation=frame, goal=frame) as session:
            for _ in range(ROUNDS + 2):
                began = time.perf_counter()
                timing = session.score(candidates).timing
                device = timing.encode_us + timing.unroll_us + timing.distance_us
                beside.append(1e3 * (time.perf_counter() - began) - 1e-3 * device)
    return f"{statistics.median(beside[2:]):.2f}"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(exit_code("benchmarks.models.gpu", main))
