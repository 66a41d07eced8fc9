"""docs/limits.md says what GetModel says."""

from pathlib import Path

import pytest

from benchmarks.models.limits import COLUMNS, MIB, random_model, row
from worldforge_jepa_server.config import ServerConfig
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models.catalog import CATALOG
from worldforge_jepa_server.runtime.model_table import deploy

TEXT = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
TABLE = {
    cells[0]: dict(zip(COLUMNS, cells, strict=True))
    for cells in (
        [cell.strip() for cell in line.strip("|").split("|")] for line in TEXT.splitlines() if line[:2] == "| "
    )
}
LIMITS = ("S", "H", "S x H", "T")


def mib(cell):
    return float(cell.removesuffix(" MiB"))


def test_every_model_has_a_row_and_its_numbers_follow_from_each_other():
    rows = {name: cells for name, cells in TABLE.items() if name not in ("model", "---")}
    assert rows.keys() == {"tiny", *CATALOG}
    for cells in rows.values():
        fit = int(ServerConfig.memory_budget / MIB / mib(cells["one candidate"]))
        assert int(cells["candidates at a time"]) == pytest.approx(min(ServerConfig.chunk_size, fit), rel=0.05)


def test_the_embedded_model_publishes_its_row(client):
    spec, cells = client.model(), TABLE["tiny"]
    published = (spec.limits.max_samples, spec.limits.max_horizon, spec.limits.max_candidate_steps)
    assert tuple(int(cells[name].replace(",", "")) for name in LIMITS[:3]) == published
    assert int(cells["T"]) == spec.limits.max_context_frames
    assert mib(cells["weights"]) == pytest.approx(spec.memory.weights_bytes / MIB, abs=0.05)
    assert mib(cells["one candidate"]) == pytest.approx(spec.memory.bytes_per_sample / MIB, rel=0.25)


def test_an_official_model_at_full_size_publishes_its_row():
    model = random_model("jepa_wm_wall")
    found = dict(zip(COLUMNS, row(deploy(model, warm_up(model), ServerConfig())), strict=True))
    cells = TABLE["jepa_wm_wall"]
    assert mib(found["one candidate"]) == pytest.approx(mib(cells["one candidate"]), rel=0.25)
    for name in set(COLUMNS) - {"one candidate", "candidates at a time"}:
        assert found[name] == cells[name]
