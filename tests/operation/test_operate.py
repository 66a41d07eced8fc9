"""`worldforge-jepa info`, `health`, `score` and `completion`: what an operator reads, and JSON for scripts."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer, add_HealthServicer_to_server

from worldforge_jepa_client.inputs.synthetic import synthetic_arrays
from worldforge_jepa_client.tools.cli import COMMANDS, main

AT_ONCE = 10  # seconds, of a timeout of 60
S, H = 3, 2


@pytest.fixture
def run(capsys):
    """Runs a command; its exit code, standard output and standard error."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def health_server():
    """Starts a server whose health service answers so, in this order."""
    server = grpc.server(ThreadPoolExecutor(1))

    def start(*statuses):
        class Health(HealthServicer):
            answers = iter(statuses)

            def Check(self, request, context):  # noqa: N802
                return HealthCheckResponse(status=next(self.answers))

        add_HealthServicer_to_server(Health(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        return f"127.0.0.1:{port}"

    yield start
    server.stop(None).wait()


def test_info_describes_every_model(server, run):
    code, out, _ = run("info", "--target", server.target)
    assert code == 0
    assert [block.partition(":")[0] for block in out.split("\n\n")] == ["tiny", "other"]
    assert "candidates   (1, any, any, 10)" in out


def test_info_as_json_has_every_field_of_one_model(server, client, run):
    code, out, _ = run("info", "--target", server.target, "--model", "other", "--json")
    (model,) = json.loads(out)
    spec = client.model("other")
    assert (code, model["name"], model["checkpoint_digest"]) == (0, "other", spec.checkpoint_digest)
    assert model["limits"] == vars(spec.limits)


def test_health_of_a_serving_server_is_0(server, run):
    assert run("health", "--target", server.target)[:2] == (0, "SERVING\n")
    _, out, _ = run("health", "--target", server.target, "--json")
    assert json.loads(out) == {"target": server.target, "status": "SERVING"}


def test_health_of_a_loading_server_is_1(health_server, run):
    assert run("health", "--target", health_server("NOT_SERVING"))[:2] == (1, "NOT_SERVING\n")


def test_health_waits_until_the_server_serves(health_server, run):
    target = health_server("NOT_SERVING", "NOT_SERVING", "SERVING")
    assert run("health", "--wait", "--target", target)[:2] == (0, "SERVING\n")


def test_health_waits_no_longer_than_its_time(dead_target, run):
    code, _, err = run("health", "--wait", "--timeout", "0.3", "--target", dead_target)
    assert code == 1
    assert "Connection refused" in err


def test_noise_is_scored_without_any_input(server, run):
    code, out, _ = run("score", "--random", "--target", server.target, "--samples", S)
    assert code == 0
    assert out.startswith("best candidate ")
    assert f" of {S}, " in out


def test_a_file_of_the_same_noise_gives_the_same_scores(server, client, run, tmp_path):
    np.savez(tmp_path / "scene.npz", **synthetic_arrays(client.model(), samples=S, horizon=H, seed=7))
    shape = ("--samples", S, "--horizon", H, "--seed", 7)
    _, random, _ = run("score", "--random", *shape, "--json", "--target", server.target)
    _, read, _ = run("score", "--npz", tmp_path / "scene.npz", "--json", "--target", server.target)
    assert json.loads(read)["scores"] == json.loads(random)["scores"]
    assert len(json.loads(read)["scores"]) == S


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"text", "is no npz file of arrays"), ({"goal": [0]}, "observation: is missing in ")],
)
def test_a_file_without_a_scene_is_refused(server, run, tmp_path, content, problem):
    path = tmp_path / "scene.npz"
    np.savez(path, **content) if isinstance(content, dict) else path.write_bytes(content)
    code, _, err = run("score", "--npz", path, "--target", server.target)
    assert (code, problem in err) == (1, True)


@pytest.mark.parametrize("command", [["info"], ["health"], ["score", "--random"], ["smoke"], ["calldata"]])
def test_a_refused_connection_fails_at_once_and_says_how_to_start_a_server(dead_target, run, command, tmp_path):
    began = time.monotonic()
    code, _, err = run(*command, "--target", dead_target, "--timeout", "60")
    assert code == 1
    assert time.monotonic() - began < AT_ONCE
    assert "Connection refused" in err
    assert "`worldforge-jepa-server` starts one" in err
    assert err.count("\n") == 1


def test_bash_completes_commands_and_their_flags(run):
    code, script, _ = run("completion", "bash")
    assert code == 0
    complete = 'COMP_WORDS=(worldforge-jepa {}); COMP_CWORD={}; _shtab_worldforge_jepa; echo "${{COMPREPLY[*]}}"\n'
    lines = complete.format("''", 1) + complete.format("health --w", 2)
    done = subprocess.run(["/bin/bash"], input=f"{script}\n{lines}", capture_output=True, text=True, check=True)
    commands, flags = done.stdout.splitlines()
    assert set(commands.split()) == set(COMMANDS)
    assert flags == "--wait"
