"""Plans in Rerun: a recording holds the values sent, and a view that cannot show them never raises."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from worldforge_jepa_client.contract.types import LatentFrames, PlanProgress, ScoreResult, Timing
from worldforge_jepa_client.viz import PlanView, projection

pytestmark = pytest.mark.filterwarnings("ignore:Python 3.10 reaches end-of-life:DeprecationWarning")  # Rerun's own

S, H, A = 16, 2, 2
TIMING = Timing(queue_us=1000, total_us=5000)
CANDIDATES = np.stack([np.full((H, A), value, np.float32) for value in (-0.25, 0.25) * (S // 2)])[None]
SCORES = np.append(np.arange(S - 1, 0, -1, dtype=np.float32), np.inf)
PATHS = np.stack([np.linspace((0, 0), (4, 0.2 * index), 3) for index in range(S)])
PLAN = np.zeros((H, A), np.float32)
PROGRESS = PlanProgress(1, 1, PLAN, PLAN, best_score=-1.0, mean_score=2.0, spread=0.5, timing=TIMING)


def show(view):
    now, goal = (np.full((3, 4, 5), value, np.uint8) for value in (9, 7))
    with view:
        view.scene(now, goal)
        view.iteration(CANDIDATES, ScoreResult(SCORES, S - 2, True, {}, TIMING), elites=5, paths=PATHS)
        view.progress(PROGRESS)


def columns(path):
    """Return the rows of each path of a recording: {path: {column: values}}."""
    reader = pytest.importorskip("rerun.chunk").RrdReader(path)
    batches = {chunk.entity_path: chunk.to_record_batch() for chunk in reader.stream().to_chunks()}
    wanted = {"iteration", "Scalars:scalars", "BarChart:values"}
    return {
        path: {name: batch[name].to_pylist() for name in wanted & set(batch.schema.names)}
        for path, batch in batches.items()
    }


def test_recording_holds_what_was_sent(tmp_path):
    show(PlanView(save=tmp_path / "plan.rrd"))
    rows = columns(tmp_path / "plan.rrd")
    drawn = {"/scene/now", "/scene/goal", "/scene/now/candidates", "/scene/now/best", "/histogram"}
    assert drawn <= rows.keys()
    assert rows["/cost/best"] == {"iteration": [0], "Scalars:scalars": [[1.0]]}
    assert rows["/cost/elite"]["Scalars:scalars"] == [[3.0]]
    assert rows["/cost/median"]["Scalars:scalars"] == [[8.0]]
    assert rows["/planner/spread"] == {"iteration": [0, 1], "Scalars:scalars": [[0.25], [0.5]]}
    assert rows["/score/best"] == {"iteration": [1], "Scalars:scalars": [[-1.0]]}
    assert rows["/milliseconds/total"]["Scalars:scalars"] == [[5.0], [5.0]]


def test_missing_viewer_is_one_warning(monkeypatch, tmp_path, caplog):
    monkeypatch.setitem(sys.modules, "rerun", None)
    show(PlanView(save=tmp_path / "plan.rrd"))
    assert [record.message for record in caplog.records if "not shown" in record.message] == [
        "the plan is not shown any more: ModuleNotFoundError: import of rerun halted; None in sys.modules"
    ]


def test_file_that_cannot_be_written_stops_nothing(tmp_path):
    view = PlanView(save=tmp_path / "absent" / "plan.rrd")
    show(view)
    assert not view.on


@pytest.mark.timeout(60)
def test_dead_viewer_stops_nothing(dead_target):
    show(PlanView(connect=f"rerun+http://{dead_target}/proxy"))


def test_view_without_sink_is_off():
    assert not PlanView().on


def test_unrolled_candidate_is_shown_on_its_way_to_the_goal(tmp_path):
    now, *steps = (LatentFrames(np.full((1, 1, 2, 3), value, np.float32), None) for value in (4, 2, 1))
    goal = LatentFrames(np.zeros((1, 1, 2, 3), np.float32), None)
    with PlanView(save=tmp_path / "plan.rrd") as view:
        view.unrolled(now, enumerate(steps, 1), goal)
    rows = columns(tmp_path / "plan.rrd")
    assert "16.0, 4.0, 1.0" in str(rows["/unroll/distance"])
    assert {"/latents/way", "/latents/goal"} <= rows.keys()


def test_projection_keeps_distances_within_a_plane():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(5, 2)) @ np.linalg.qr(rng.normal(size=(7, 2)))[0].T
    plane = projection(flat.astype(np.float32))
    expected = np.linalg.norm(flat[:, None] - flat, axis=-1)
    found = np.linalg.norm(plane[:, None] - plane, axis=-1)
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), atol=1e-5)


LAVAPIPE = next(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"), None)
DRAWS = shutil.which("xvfb-run") and LAVAPIPE and Path(sys.executable).with_name("rerun").exists()


@pytest.mark.skipif(not DRAWS, reason="no xvfb-run, or no Mesa Vulkan driver, or no Rerun viewer")
def test_viewer_draws_the_candidates(tmp_path):
    show(PlanView(save=tmp_path / "plan.rrd"))
    picture = tmp_path / "plan.png"
    subprocess.run(
        [
            "xvfb-run",
            "-a",
            Path(sys.executable).with_name("rerun"),
            tmp_path / "plan.rrd",
            "--window-size=500x300",
            "--screenshot-to",
            picture,
        ],
        env=os.environ | {"VK_ICD_FILENAMES": str(LAVAPIPE), "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        check=True,
        capture_output=True,
        timeout=200,
    )
    pixels = np.round(imread(picture)[..., :3] * 255).astype(int)
    orange = np.all(np.abs(pixels - [255, 140, 0]) < 20, axis=-1).sum()
    assert orange > 200
