"""Commands against a server with TLS and tokens: by flags, by the environment, and with the tools they name."""

import json
import shutil
import subprocess

import pytest

from tests.security.certificates import TOKENS, WRONG_TOKEN
from worldforge_jepa_client.tools.cli import main


@pytest.fixture
def flags(secured_server, credentials):
    return ["--target", secured_server.target, "--cacert", credentials.cacert]


@pytest.fixture
def secured_environment(monkeypatch, credentials):
    monkeypatch.setenv("WORLDFORGE_JEPA_TOKEN", TOKENS["arm"])
    monkeypatch.setenv("WORLDFORGE_JEPA_CACERT", credentials.cacert)


def test_flags_and_environment_say_the_same(flags, secured_server, secured_environment, monkeypatch, capsys):
    assert main(["score", "--random", "--json", "--target", secured_server.target]) == 0
    monkeypatch.delenv("WORLDFORGE_JEPA_TOKEN")
    assert main(["score", "--random", "--json", *flags, "--token", TOKENS["arm"]]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["best_index"] == second["best_index"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--token", WRONG_TOKEN], "the token is not one of this server's"),
        ([], "this server needs a token, as metadata `authorization: Bearer TOKEN`"),
        (["--token", TOKENS["camera"], "--model", "tiny"], "model: the token is not for 'tiny'"),
        (["--cert", "/nope", "--key", "/nope"], "cert: cannot read /nope: No such file or directory"),
    ],
)
def test_what_is_wrong_is_one_line(flags, capsys, given, says):
    assert main(["info", *flags, *given]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"worldforge-jepa info: {says}\n")


def test_a_command_without_tls_gets_one_line(secured_server, capsys):
    assert main(["info", "--target", secured_server.target]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": it may speak TLS (set cacert), or want a certificate of the client (set cert and key)")


def test_health_needs_no_token(flags, capsys):
    assert main(["health", *flags]) == 0
    assert capsys.readouterr().out == "SERVING\n"


def test_evidence_holds_no_token(flags, tmp_path):
    manifest = tmp_path / "manifest.json"
    assert main(["smoke", *flags, "--token", TOKENS["arm"], "--run-manifest", str(manifest)]) == 0
    assert TOKENS["arm"] not in manifest.read_text()
    assert "--cacert" in manifest.read_text()


def test_the_conformance_suite_shows_a_token_too(flags, capsys):
    chosen = [part for name in ("stream-order", "score-order", "plan-progress") for part in ("--only", name)]
    assert main(["conformance", *flags, "--token", TOKENS["arm"], *chosen]) == 0
    assert "3 kept, 0 broken" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("ghz") is None, reason="ghz is not installed")
def test_calldata_prints_commands_of_ghz_that_work(flags, secured_environment, tmp_path, capsys):
    assert main(["calldata", *flags, "--output", str(tmp_path), "--count", "1", "--samples", "2"]) == 0
    commands = {line.partition(" -B ")[0].rpartition("/")[2]: line for line in capsys.readouterr().out.splitlines()}
    for method in ("Score", "Plan", "ScoreStream"):
        assert TOKENS["arm"] not in commands[method]
        command = commands[method].replace("ghz ", "ghz --total 1 --concurrency 1 --format json ", 1)
        done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(done.stdout)["statusCodeDistribution"] == {"OK": 1}, done.stdout


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="grpcurl is not installed")
def test_grpcurl_lists_the_services_with_a_token(secured_server, credentials):
    def services(*flags):
        command = ["grpcurl", "-cacert", credentials.cacert, *flags, secured_server.target, "list"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert "worldforge.jepa.v1.WorldModelService" in services("-H", f"authorization: Bearer {TOKENS['arm']}").stdout
    assert "needs a token" in services().stderr
