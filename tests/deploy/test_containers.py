"""Container files: linted, since no container engine runs here, and their commands parsed by the programs."""

import json
import re
import subprocess

import pytest
import yaml

from tests.deploy.files import DEPLOY, REPOSITORY, tool
from worldforge_jepa_client.tools.cli import COMMANDS
from worldforge_jepa_server.cli import parse_config

DOCKER, KUBERNETES = DEPLOY / "docker", DEPLOY / "kubernetes"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
SERVER = "worldforge-jepa-server"


def objects():
    """Every Kubernetes object, by its kind."""
    files = KUBERNETES.glob("*.yaml")
    return {each["kind"]: each for path in files for each in yaml.safe_load_all(path.read_text())}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing_in_the_dockerfile():
    done = run(tool("hadolint"), DOCKER / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_programs_that_the_package_installs():
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
    assert json.loads(entry) == [SERVER]
    (probe,) = re.findall(r"^\s*CMD (.*)$", DOCKERFILE, re.MULTILINE)
    program, command, *_ = json.loads(probe)
    assert (program, command in COMMANDS) == ("worldforge-jepa", True)


def test_the_context_has_what_the_image_copies():
    kept = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((REPOSITORY / name).exists() for name in kept)
    assert {"constraints-dev.txt", "pyproject.toml", "protos", "server", "worldforge_jepa_client"} <= set(kept)


def test_kubernetes_accepts_every_object():
    done = run(tool("kubernetes-validate"), "--strict", *KUBERNETES.glob("*.yaml"))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARN" not in said
    assert said.count(" passed ") == len(objects())


def test_kubernetes_gives_the_server_time_to_drain(tmp_path):
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    path = tmp_path / "server.toml"
    path.write_text(objects()["ConfigMap"]["data"]["server.toml"])
    config = parse_config(["--config", str(path)], {})
    assert pod["terminationGracePeriodSeconds"] > before + config.drain_seconds


def test_prometheus_accepts_its_configuration_and_alerts():
    done = run(tool("promtool"), "check", "config", DOCKER / "prometheus.yml")
    assert done.returncode == 0, done.stderr


def test_compose_starts_the_server_with_flags_that_it_has():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    config = parse_config(services["server"]["command"], {})
    (scrape,) = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]
    (target,) = scrape["static_configs"][0]["targets"]
    assert target == f"server:{config.metrics_address.rpartition(':')[2]}"


def test_compose_mounts_files_that_are_there():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    mounts = (mount.split(":")[0] for service in services.values() for mount in service.get("volumes", ()))
    paths = [DOCKER / mount for mount in mounts if mount.startswith(".")]
    assert paths
    assert [path for path in paths if not path.exists()] == []


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "HorizontalPodAutoscaler", "Service"])
def test_every_object_selects_the_deployment(kind):
    deployment, spec = objects()["Deployment"], objects()[kind]["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    if kind == "HorizontalPodAutoscaler":
        assert spec["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    else:
        assert spec["selector"].get("matchLabels", spec["selector"]) == labels
