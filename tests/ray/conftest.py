"""Ray Serve in a process of its own, as `make serve-ray` starts it: two replicas, and by pending work no fewer."""

import pytest

from benchmarks.scale.cluster import started

BY_PENDING_WORK = {
    "min_replicas": 2,
    "max_replicas": 2,
    "target_ongoing_requests": 2,
    "look_back_period_s": 2,
    "upscale_delay_s": 1,
    "downscale_delay_s": 1,
    "policy": {"policy_function": "worldforge_jepa_server.scale.ray_serve:by_pending_work"},
}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    with started(folder, num_replicas=None, autoscaling_config=BY_PENDING_WORK) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ray_target(cluster):
    return cluster.target
