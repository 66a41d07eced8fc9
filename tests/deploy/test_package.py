"""The wheel and the sdist, built from the files that the image's context has too."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.deploy.files import REPOSITORY

PROTO = "protos/worldforge/jepa/v1/jepa.proto"
CONTEXT = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")]
(VERSION,) = re.findall(r'^version = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the wheel and the sdist."""
    context = tmp_path_factory.mktemp("context")
    for name in CONTEXT:
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, context / name)
    subprocess.run([sys.executable, "-m", "hatchling", "build"], cwd=context, check=True, capture_output=True)
    return context / "dist"


def test_the_wheel_has_the_packages_the_proto_and_the_programs(built):
    with zipfile.ZipFile(built / f"worldforge_jepa-{VERSION}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        assert wheel.read("worldforge_jepa_client/v1/jepa.proto") == (REPOSITORY / PROTO).read_bytes()
        programs = wheel.read(f"worldforge_jepa-{VERSION}.dist-info/entry_points.txt").decode()
    assert {"worldforge_jepa_client/py.typed", "worldforge_jepa_server/config.py"} <= names
    assert "worldforge_jepa_server/models/native/weights/tiny.safetensors" in names
    assert "worldforge-jepa-server = " in programs
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]


def test_the_wheel_by_itself_serves_and_scores(built, tmp_path):
    shutil.unpack_archive(built / f"worldforge_jepa-{VERSION}-py3-none-any.whl", tmp_path, "zip")
    command = [sys.executable, "-m", "worldforge_jepa_client", "smoke", "--start", "--json-output", "smoke.json"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=120)
    assert json.loads((tmp_path / "smoke.json").read_text())["score_summary"]["candidate_count"] == 8


def test_the_sdist_has_what_the_wheel_is_built_from(built):
    with tarfile.open(built / f"worldforge_jepa-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {PROTO, "LICENSE", "README.md", "pyproject.toml", "worldforge_jepa_client/v1/jepa_pb2.py"} <= names


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CITATION.cff", f"version: {VERSION}"),
        ("CHANGELOG.md", VERSION),
        ("deploy/docker/compose.yaml", f"image: worldforge-jepa:{VERSION}"),
        ("deploy/kubernetes/deployment.yaml", f"image: worldforge-jepa:{VERSION}"),
    ],
)
def test_every_file_names_the_same_version(name, text):
    assert text in (REPOSITORY / name).read_text()
