"""ghz, grpcurl and grpc-health-probe, where they are installed: they take every file that calldata writes."""

import json
import shutil
import subprocess

import pytest

from benchmarks.load import ghz
from tests.interop.test_calldata import METHODS, WRITTEN
from worldforge_jepa_client.tools.calldata import SERVICE
from worldforge_jepa_client.tools.cli import main

SECONDS, COUNT = 60, 2


def needs(program):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")


@pytest.fixture(scope="module")
def folder(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    shape = ["--samples", "4", "--horizon", "2", "--count", str(COUNT)]
    assert main(["calldata", "--target", server.target, "--output", str(folder), *shape]) == 0
    return folder


def output(*command, **keywords):
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **keywords)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(bool(ghz.unusable()), reason=ghz.unusable())
@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("form", ["bin", "json"])
def test_ghz_takes_every_file_in_both_forms(server, folder, name, form):
    data = {"bin": ["--binary-file"], "json": ["--disable-template-data", "--data-file"]}[form]
    told = ["--insecure", "--call", f"{SERVICE}/{name}", *data, str(folder / f"{name}.{form}")]
    report = json.loads(output("ghz", *told, "-n", str(COUNT), "-c", "1", "--format", "json", server.target))
    assert report["statusCodeDistribution"] == {"OK": COUNT}


@needs("grpcurl")
@pytest.mark.parametrize("name", WRITTEN)
def test_grpcurl_takes_every_message(server, folder, name):
    messages = json.loads((folder / f"{name}.json").read_text())
    sent = messages if METHODS[name].client_streaming else messages[:1]
    command = ["grpcurl", "-plaintext", "-d", "@", server.target, f"{SERVICE}/{name}"]
    said = output(*command, input="\n".join(map(json.dumps, sent)))
    answers, decoder = [], json.JSONDecoder()
    while said := said.lstrip():
        answer, end = decoder.raw_decode(said)
        answers.append(answer)
        said = said[end:]
    assert all(answers)
    assert len(answers) >= len(sent)


@needs("grpcurl")
def test_grpcurl_shows_the_details_of_an_error(server):
    command = ["grpcurl", "-plaintext", "-d", '{"model": "none"}', server.target, f"{SERVICE}/GetModel"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 64 + 5  # NOT_FOUND
    assert '"reason": "MODEL_NOT_FOUND"' in done.stderr.replace('":"', '": "')


@needs("grpc-health-probe")
@pytest.mark.parametrize("service", ["", SERVICE])
def test_grpc_health_probe_finds_a_server_healthy(server, service):
    output("grpc-health-probe", "-addr", server.target, "-service", service)


@needs("grpc-health-probe")
def test_grpc_health_probe_asks_over_tls_without_a_token(secured_server, credentials):
    output("grpc-health-probe", "-addr", secured_server.target, "-tls", "-tls-ca-cert", str(credentials.cacert))
