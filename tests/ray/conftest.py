"""Ray Serve in a process of its own, as `make serve-ray` starts it: two replicas of the embedded model."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError

ROOT = Path(__file__).parents[2]
SECONDS = 150


@pytest.fixture(scope="session")
def ray_target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    config = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
    ports = [free_port() for _ in range(4)]
    config["grpc_options"]["port"], config["http_options"]["port"] = ports[:2]
    (folder / "serve.yaml").write_text(yaml.safe_dump(config))
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'server'}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",  # nothing is called any more at the end
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[2]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports[3]),
    }
    command = [sys.executable, "-m", "worldforge_jepa_server.scale.ray_serve", folder / "serve.yaml"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    target = f"127.0.0.1:{ports[0]}"
    try:
        wait_ready(process, target)
        yield target
    except BaseException:
        sys.stderr.write((folder / "log").read_text()[-4000:])
        raise
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def wait_ready(process, target):
    """Wait until a replica answers, or fail once the process has ended."""
    end = time.monotonic() + SECONDS
    with Client(target, timeout=5) as client:
        while time.monotonic() < end:
            assert process.poll() is None, f"ended with exit code {process.returncode}"
            with contextlib.suppress(JepaError):
                client.wait_ready(2)
                return
    raise AssertionError(f"not ready within {SECONDS} s")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
