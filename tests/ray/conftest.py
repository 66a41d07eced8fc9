"""Ray Serve in a process of its own, as `make serve-ray` starts it: two replicas."""

import pytest

from benchmarks.scale.cluster import started


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    with started(tmp_path_factory.mktemp("ray")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def ray_target(cluster):
    return cluster.target
