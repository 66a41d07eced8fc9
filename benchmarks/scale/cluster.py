"""Ray Serve in processes of its own, as `make serve-ray` starts it, on free ports; redeployed and watched from here."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_server.scale.ray_serve import ENVIRONMENT

ROOT = Path(__file__).parents[2]
SECONDS = 400.0
_POLL, _STARTS = 0.1, 3

MODELS = """\
threads = 1
drain_seconds = 10
[model.tiny]
[model.sleeping]
source = "python:benchmarks.scale.models:Sleeping"
options = {seconds = "0.1"}
[model.empty]
source = "python:benchmarks.scale.models:Sleeping"
"""
"""The embedded model, one that sleeps for 100 ms, and one that costs next to nothing."""


class Cluster:
    """The application of deploy/ray/serve.yaml with `MODELS`, on this machine.

    Attributes:
        target: of Ray's HAProxy.
        log: what all of Ray's processes print.
    """

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.target, self.log = f"127.0.0.1:{ports[0]}", folder / "log"
        self._folder = folder
        self._schema: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text())
        self._schema["grpc_options"]["port"], self._schema["http_options"]["port"] = ports[:2]
        (folder / "server.toml").write_text(MODELS)
        self._application["args"] = {"config": str(folder / "server.toml")}
        self._application["deployments"][0]["ray_actor_options"] = {"num_cpus": 0.1}

    @property
    def _application(self) -> dict[str, Any]:
        application: dict[str, Any] = self._schema["applications"][0]
        return application

    def write(self, **options: object) -> Path:
        """Write a serve.yaml with these options of the deployment; None takes one away."""
        deployment = self._application["deployments"][0]
        deployment.update(options)
        for name in [name for name, value in options.items() if value is None]:
            del deployment[name]
        path = self._folder / "serve.yaml"
        path.write_text(yaml.safe_dump(self._schema))
        return path

    def deploy(self, **options: object) -> None:
        """Have Ray serve with these options, without waiting for it."""
        from ray.serve.schema import ServeDeploySchema

        given = yaml.safe_load(self.write(**options).read_text())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray compares the look-back with what its variable replaces
            schema = ServeDeploySchema.model_validate(given)
        _ray().deploy_apps(schema)

    def replicas(self) -> list[int]:
        """Return the process ids of the replicas that run."""
        deployments = _ray().get_serve_details()["applications"]["worldforge-jepa"]["deployments"]
        replicas = deployments.get("WorldModel", {}).get("replicas", ())  # none while Ray builds the application
        return sorted(each["pid"] for each in replicas if each["state"] == "RUNNING")

    def wait(self, held: Callable[[list[int]], bool]) -> list[int]:
        """Return the replicas as soon as `held` is true of their process ids, or fail after `SECONDS`."""
        end = time.monotonic() + SECONDS
        while not held(running := self.replicas()):
            if time.monotonic() > end:
                raise TimeoutError(f"the replicas are {running}")
            time.sleep(_POLL)
        return running


@contextlib.contextmanager
def started(folder: Path, **options: object) -> Iterator[Cluster]:
    """Start Ray and the application, and attach to it; end all at the end."""
    ports = [free_port() for _ in range(4)]
    cluster = Cluster(folder, ports)
    process = _ready(cluster, cluster.write(**options), environ(ports))
    try:
        with _attached():
            yield cluster
    finally:
        _stop(process)


def _ready(cluster: Cluster, config: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Return `serve run` once the service answers; begun again where Ray gives up, after 30 s on a busy machine."""
    command = [sys.executable, "-m", "worldforge_jepa_server.scale.ray_serve", str(config)]
    for _ in range(_STARTS):
        with cluster.log.open("w") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            answered = _answers(process, cluster.target)
        except BaseException:
            _stop(process)
            raise
        if answered:
            return process
        _stop(process)
    raise RuntimeError(f"Ray does not start:\n{cluster.log.read_text()[-4000:]}")


def environ(ports: list[int]) -> dict[str, str]:
    """Return the environment of Ray's processes: two of the ports are HAProxy's own."""
    return os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'server'}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",  # of the load; the default is 10
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports[2]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports[3]),
    }


@contextlib.contextmanager
def _attached() -> Iterator[None]:
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's use of pydantic
        import ray
        import ray.serve.context
        import ray.serve.schema

    ray.init(address="auto", namespace="serve", log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def _ray() -> Any:
    """Return Serve's client."""
    from ray.serve.context import _get_global_client

    return _get_global_client()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt `serve run`, which ends Ray; kill what is left of its process group."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answers(process: subprocess.Popen[bytes], target: str) -> bool:
    """Wait until the service answers; return False once Ray has ended, or after `SECONDS`."""
    end = time.monotonic() + SECONDS
    with Client(target, timeout=5) as client:
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(JepaError):
                client.wait_ready(2)
                return True
    return False


def free_port() -> int:
    """Return a port on which no one listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
