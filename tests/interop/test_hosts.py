"""Hosts in other languages: examples/hosts get the scores that Python's client gets, and errors that name the field."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.security.certificates import TOKENS, WRONG_TOKEN
from worldforge_jepa_client import Client

ROOT = Path(__file__).parents[2]
SAMPLES, HORIZON, SIDE = 64, 6, 64
SECONDS = 240
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "E403", "E404")
UNREACHABLE += ("dial tcp", "failed to download", "Could not transfer artifact", "Could not resolve host")
HOSTS = ("cpp", "go", "java", "node", "rust")
SHOWING = ("go", "node")
"""Those that read WORLDFORGE_JEPA_CACERT and WORLDFORGE_JEPA_TOKEN."""
MADE = shutil.ignore_patterns("node_modules", "build", "stubs", "target")


def built(folder, *commands):
    """Build a host in a copy of what it needs, as a reader of its first lines would."""
    for name in ("protos", "examples/hosts"):
        shutil.copytree(ROOT / name, folder / name, ignore=MADE)
    for where, *command in commands:
        place = folder / "examples/hosts" / where
        try:
            subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=SECONDS, check=True)
        except subprocess.CalledProcessError as error:
            return error.stderr + error.stdout
        except subprocess.TimeoutExpired:
            return "ETIMEDOUT"
    return ""


def built_with(tools, tmp_path_factory, language, *commands):
    """The folder of a host that is built by these commands, or a skip that names what is not here."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp(language)
    trouble = built(folder, *[(language, *command) for command in commands])
    if any(sign in trouble for sign in UNREACHABLE):
        pytest.skip(f"{language}'s registry cannot be reached: {trouble[-300:]}")
    assert not trouble
    return folder / "examples/hosts" / language


@pytest.fixture(scope="module")
def go(tmp_path_factory):
    commands = (("go", "generate"), ("go", "build", "-o", "score", "."))
    return [str(built_with(("go", "protoc"), tmp_path_factory, "go", *commands) / "score")]


@pytest.fixture(scope="module")
def rust(tmp_path_factory):
    commands = (("cargo", "build", "--locked"),)
    folder = built_with(("cargo", "protoc"), tmp_path_factory, "rust", *commands)
    return [str(folder / "target/debug/worldforge-jepa-host")]


@pytest.fixture(scope="module")
def java(tmp_path_factory):
    folder = built_with(("java", "mvn"), tmp_path_factory, "java", ("mvn", "-q", "-B", "package"))
    return ["java", "-jar", str(folder / "target/host.jar")]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    command = ("npm", "ci", "--no-audit", "--no-fund", "--fetch-retries=0")
    return ["node", str(built_with(("node", "npm"), tmp_path_factory, "node", command) / "score.mjs")]


@pytest.fixture(scope="module")
def cpp(tmp_path_factory):
    tools = {name: shutil.which(name) for name in ("cmake", "pkg-config", "protoc", "grpc_cpp_plugin")}
    if not all(tools.values()) or subprocess.run([tools["pkg-config"], "grpc++"], check=False).returncode:
        pytest.skip(f"needs grpc++, {', '.join(tools)}")
    folder = tmp_path_factory.mktemp("cpp")
    trouble = built(folder, ("cpp", "cmake", "-B", "build"), ("cpp", "cmake", "--build", "build"))
    assert not trouble
    return [str(folder / "examples/hosts/cpp/build/score")]


def frame(shift):
    return ((np.arange(3 * SIDE * SIDE) + shift) % 256).astype(np.uint8).reshape(1, 1, 3, SIDE, SIDE)


def score_here(client):
    """Return the request that the examples send."""
    actions = np.arange(SAMPLES * HORIZON * client.model().action_dim)
    return client.score(
        observation={"visual": frame(0), "proprio": [12.0, 32.0]},
        goal={"visual": frame(100), "proprio": [48.0, 32.0]},
        action_candidates=((actions * 37 % 64 - 32) / 16).reshape(1, SAMPLES, HORIZON, -1),
    )


@pytest.mark.parametrize("language", HOSTS)
def test_a_host_gets_the_scores_that_python_gets(language, server, request):
    command = request.getfixturevalue(language)
    done = subprocess.run([*command, server.target], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    first, again, wrong = json.loads(done.stdout)
    with Client(server.target, timeout=SECONDS) as client:
        expected = score_here(client)
    for answer in (first, again):
        np.testing.assert_array_equal(np.array(answer["score"]["scores"], np.float32), expected.scores)
        assert int(answer["score"]["best_index"]) == expected.best_index
    assert (wrong["error"]["reason"], wrong["error"]["field"]) == ("INVALID_SHAPE", "action_candidates")


@pytest.mark.parametrize("language", SHOWING)
def test_a_host_shows_a_token_and_checks_the_certificate(language, secured_server, credentials, request):
    command = [*request.getfixturevalue(language), secured_server.target]
    shown = {"WORLDFORGE_JEPA_CACERT": credentials.cacert, "WORLDFORGE_JEPA_TOKEN": TOKENS["arm"]}
    for environment, code in ((shown, 0), (shown | {"WORLDFORGE_JEPA_TOKEN": WRONG_TOKEN}, 1), ({}, 1)):
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == code, done.stderr
        assert bool(done.stdout) == (code == 0)


@pytest.mark.parametrize("language", HOSTS)
def test_a_host_reports_an_unreachable_server(language, dead_target, request):
    command = request.getfixturevalue(language)
    done = subprocess.run([*command, dead_target], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr
