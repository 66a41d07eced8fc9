"""Memory and limits of each model: `python -m benchmarks.models.limits` prints the table of docs/limits.md.

Each model goes through the server's own warm-up and limits, the official ones with random weights: what they need does
not depend on the weights' values. Takes minutes on a small machine.
"""

from __future__ import annotations

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.models.native import tiny
from worldforge_jepa_server.models.native.model import NativeModel
from worldforge_jepa_server.models.native.weights import published
from worldforge_jepa_server.models.precision import FLOAT32, Execution
from worldforge_jepa_server.runtime.model_table import Deployment, deploy

MIB = 2**20
ENCODERS = {
    "dinov2_vits14": "DINOv2 ViT-S/14",
    "dinov3_vitl16": "DINOv3 ViT-L/16",
    "vjepa2_vit_giant": "V-JEPA 2 ViT-g/16",
}
COLUMNS = (
    "model",
    "task family",
    "checkpoint",
    "weights",
    "one candidate",
    "candidates at a time",
    "S",
    "H",
    "S x H",
    "T",
)


def main() -> None:
    """Print the table."""
    print(_line(COLUMNS), _line(["---"] * len(COLUMNS)), sep="\n")
    for model in (tiny.load("cpu", "tiny"), *map(random_model, CATALOG)):
        print(_line(row(deploy(model, warm_up(model), ServerConfig()))), flush=True)


def row(deployment: Deployment) -> list[str]:
    """A model's cells, in the order of `COLUMNS`."""
    spec, limits = deployment.spec, deployment.spec.limits
    assert spec.memory is not None
    return [
        spec.name,
        spec.environment,
        _checkpoint(spec),
        f"{spec.memory.weights_bytes / MIB:.1f} MiB",
        f"{spec.memory.bytes_per_sample / MIB:.2f} MiB",
        str(deployment.runner.chunk),
        f"{limits.max_samples:,}",
        str(limits.max_horizon),
        f"{limits.max_candidate_steps:,}",
        str(limits.max_context_frames),
    ]


def random_model(name: str, execution: Execution = FLOAT32) -> NativeModel:
    """An official model at full size with random weights."""
    entry = published.native_entry(name)
    module = published.random_module(entry)
    return NativeModel(
        module,
        name=name,
        source=f"native:{name}",
        digest="",
        device="cpu",
        limits=published.LIMITS,
        execution=execution,
        **entry.published,
    )


def _checkpoint(spec: ModelSpec) -> str:
    return "embedded" if spec.source == "embedded" else f"`{spec.name}.pth.tar`, {ENCODERS[spec.encoder]}"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
