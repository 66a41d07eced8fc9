"""Files for Ray Serve and KubeRay: Ray's schema ignores a key that it does not know, and Kubernetes a kind."""

import subprocess
import typing

import pytest
import yaml
from pydantic import BaseModel

from tests.deploy.files import DEPLOY, tool
from worldforge_jepa_server.cli import parse_config
from worldforge_jepa_server.scale import ray_serve

OBJECTS = list(yaml.safe_load_all((DEPLOY / "kubernetes/ray/rayservice.yaml").read_text()))
(SPEC,) = [each["spec"] for each in OBJECTS if each["kind"] == "RayService"]
CONFIG = {each["metadata"]["name"]: each["data"] for each in OBJECTS if each["kind"] == "ConfigMap"}
SERVE = {
    "local": yaml.safe_load((DEPLOY / "ray/serve.yaml").read_text()),
    "KubeRay": yaml.safe_load(SPEC["serveConfigV2"]),
}
CLUSTER = SPEC["rayClusterConfig"]
PODS = [group["template"] for group in (CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"])]


def unknown_keys(kind, given, path=""):
    """The keys of `given` that a pydantic model, or one in it, has no field for."""
    for inner in typing.get_args(kind):
        yield from unknown_keys(inner, given, path)
    if isinstance(given, list):
        for each in given:
            yield from unknown_keys(kind, each, path)
    elif isinstance(given, dict) and isinstance(kind, type) and issubclass(kind, BaseModel):
        for key, value in given.items():
            field = kind.model_fields.get(key)
            if field is None:
                yield path + key
            else:
                yield from unknown_keys(field.annotation, value, f"{path}{key}.")


@pytest.mark.parametrize("serve", SERVE.values(), ids=SERVE)
def test_ray_knows_every_key_of_a_serve_config(serve):
    schema = pytest.importorskip("ray.serve.schema").ServeDeploySchema
    misspelt = {"applications": [{"deployments": [{"nmae": 1}]}]}
    assert set(unknown_keys(schema, misspelt)) == {"applications.deployments.nmae"}
    assert list(unknown_keys(schema, serve)) == []
    (application,) = schema.model_validate(serve).applications
    assert set(application.args) <= set(ray_serve._ARGUMENTS)
    (deployment,) = application.deployments
    assert deployment.name == "WorldModel"
    assert deployment.max_surge_percent == 100


def test_kuberay_gives_every_ray_process_the_environment_that_the_command_gives():
    environment = CONFIG["worldforge-jepa-ray-environment"]
    assert environment == dict(ray_serve.ENVIRONMENT)
    for pod in PODS:
        (container,) = pod["spec"]["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": "worldforge-jepa-ray-environment"}}]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        serve = SERVE["KubeRay"]
        assert ports["serve-grpc"] == serve["grpc_options"]["port"]
        assert ports["serve"] == serve["http_options"]["port"]


def test_kubernetes_accepts_the_pods_and_what_they_mount(tmp_path):
    pods = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, **pod} for pod in PODS]
    checked = [each for each in OBJECTS if each["kind"] == "ConfigMap"] + pods
    path = tmp_path / "checked.yaml"
    path.write_text(yaml.safe_dump_all(checked))
    done = subprocess.run([tool("kubernetes-validate"), "--strict", path], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARN" not in said
    assert said.count(" passed ") == len(checked)


def test_the_server_knows_every_setting_of_the_mounted_file(tmp_path):
    path = tmp_path / "server.toml"
    path.write_text(CONFIG["worldforge-jepa-ray"]["server.toml"])
    config = parse_config(["--config", str(path)], {})
    for pod in PODS:
        assert pod["spec"]["terminationGracePeriodSeconds"] > config.drain_seconds
