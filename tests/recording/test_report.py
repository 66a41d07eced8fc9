"""The page of a recording's plans, as text and in a browser."""

import shutil
import subprocess

import numpy as np
import pytest

from tests.support.calls import observation
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import PlanCall, Scene, ScoreResult, Timing
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.tools.cli import main
from worldforge_jepa_client.tools.recording.file import Writer
from worldforge_jepa_client.tools.recording.plans import plans
from worldforge_jepa_client.tools.recording.report import png
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.v1.recording_pb2 import RecordedCall

S, H, A = 8, 2, 4
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCENE = Scene(observation(), observation(), None)


def answer(best):
    scores = np.arange(best, best + S, dtype=np.float32)
    result = ScoreResult(scores, 0, True, {}, Timing(queue_us=1000, total_us=5000))
    return jepa_pb2.ScoreStreamResponse(score=wire.score_response(result)).SerializeToString()


def session_call(best, scene=None):
    request = wire.stream_request(scene, np.zeros((1, S, H, A), np.float32))
    return RecordedCall(method="ScoreStream", stream=1, request=request.SerializeToString(), responses=[answer(best)])


def plan_call():
    request = wire.plan_request(PlanCall(SCENE, planner=PlannerOptions(), seed=0, model=""))
    responses = [jepa_pb2.PlanResponse(iteration=1, best_score=0.5, mean_score=0.75).SerializeToString()]
    return RecordedCall(method="Plan", request=request.SerializeToString(), responses=responses)


CALLS = [session_call(3.0, SCENE), session_call(1.0), plan_call()]


@pytest.fixture
def page(tmp_path):
    with Writer(tmp_path / "plans.rec", 2**20) as writer:
        for call in CALLS:
            writer.add(call)
    assert main(["report", str(tmp_path / "plans.rec"), "--output", str(tmp_path / "plans.html")]) == 0
    return tmp_path / "plans.html"


def test_plans_have_scenes_curves_and_times():
    session, plan = plans(CALLS)
    assert session.curves == {"best": [3.0, 1.0], "elite": [6.5, 4.5], "median": [6.5, 4.5]}
    assert session.frames.keys() == plan.frames.keys() == {"now", "goal"}
    assert session.milliseconds["total"] == [5.0, 5.0]
    assert plan.curves == {"best": [0.5], "mean": [0.75]}


def test_page_is_self_contained(page):
    text = page.read_text()
    assert text.count("<section>") == 2
    assert "<script" not in text
    assert "http" not in text.replace("data:image/png", "")


@pytest.mark.skipif(not BROWSER, reason="no chromium here")
def test_browser_draws_the_page(page, tmp_path):
    picture = tmp_path / "page.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    subprocess.run(
        [BROWSER, *flags, "--window-size=1200,900", f"--screenshot={picture}", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=120,
    )
    from matplotlib.image import imread

    pixels = np.round(imread(picture)[..., :3] * 255).astype(int)
    blue = np.all(np.abs(pixels - [0x1F, 0x6F, 0xB2]) < 12, axis=-1).sum()
    frame = np.all(pixels == 9, axis=-1).sum()
    assert blue > 1000  # the bars of the histogram
    assert frame >= 4 * 150 * 150  # two frames of each plan, enlarged


def test_png_holds_the_frame(tmp_path):
    from matplotlib.image import imread

    frame = np.random.default_rng(0).integers(0, 256, (3, 5, 7), np.uint8)
    (tmp_path / "frame.png").write_bytes(png(frame))
    read = np.round(imread(tmp_path / "frame.png") * 255).astype(np.uint8)
    np.testing.assert_array_equal(np.moveaxis(read, -1, 0), frame)
