"""Jobs that score, run on a runner in the test's own thread."""

from worldforge_jepa_server.device.batching import ScoreJob
from worldforge_jepa_server.device.encoding import SceneHandle
from worldforge_jepa_server.device.runner import LatentScores
from worldforge_jepa_server.scheduling.scheduler import Slice


def whole_slice(runner, scene, candidates, options):
    """All candidates [S, H, A] of a job in an encoded scene, begun."""
    job = ScoreJob(runner, SceneHandle.of(scene), options, candidates.shape, candidates)
    assert job.begin(runner.model) is None
    return Slice(job, 0, len(candidates), last=True)


def measured(model, scene, candidates, options, chunk=512):
    """The scores of one job, a tensor [S] on the device."""
    runner = LatentScores(model, model.spec, chunk)
    return runner.measure([whole_slice(runner, scene, candidates, options)])
