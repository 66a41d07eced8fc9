"""Write docs/evidence: smoke runs of the embedded model, and of an official architecture with random weights.

Runs through WorldForge's provider where `make` has found a Python for it, else with the runtime that it would call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from worldforge_jepa_client.tools.exit_code import exit_code
from worldforge_jepa_client.tools.local_server import running_server

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "evidence"
WORLDFORGE = ROOT / ".venv-worldforge" / "bin" / "python"
MODELS = {"tiny": "tiny", "jepa_wm_pusht_random": "jepa_wm_pusht_random=native:jepa_wm_pusht,random=true"}
SMOKE = {"samples": 4, "horizon": 2, "seed": 0}


def main(folder: Path = FOLDER) -> int:
    """Serve all of `MODELS`, and write the evidence of each into a folder of its name."""
    flags = [part for source in MODELS.values() for part in ("--model", source)]
    with running_server(*flags) as target:
        return max(smoke(target, name, folder / name) for name in MODELS)


def smoke(target: str, model: str, folder: Path) -> int:
    """Write one model's evidence; return the exit code of the command."""
    python = WORLDFORGE if WORLDFORGE.exists() else Path(sys.executable)
    settings = [part for name, value in SMOKE.items() for part in (f"--{name}", str(value))]
    files = ["--json-output", str(folder / "summary.json"), "--run-manifest", str(folder / "run_manifest.json")]
    command = [str(python), "-m", "worldforge_jepa_client", "smoke", "--target", target, "--model", model]
    settings_of_users = ("WORLDFORGE_JEPA_", "JEPA_WMS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings_of_users)}
    environment = kept | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, *settings, *files], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(exit_code("evidence", main))
