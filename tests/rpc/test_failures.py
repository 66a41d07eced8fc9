"""Every failure that the provider contract names is one clear error, and the server goes on: see tests/fixtures."""

import os
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.external.hub import STAND_IN
from tests.support.failures import assert_says, read, sent
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc
from worldforge_jepa_client.wire.status import from_message, from_rpc_error
from worldforge_jepa_server import cli

DEADLINE = 30
REQUESTS, MODELS, LOADING = read("requests"), read("models"), read("loading")
TENSORS = ("visual", "proprio", "action_history", "action_candidates")


def requests_at(*doors):
    """Each door with each of the requests that can come through it and must not."""
    return [
        pytest.param(door, case, id=f"{name}-{door}")
        for name, case in REQUESTS["failures"].items()
        for door in doors
        if door in case.get("doors", ("score", "stream", "client"))
    ]


def assert_fails_as(case, error):
    assert isinstance(error, JepaError), error
    assert [error.code.name, error.reason, error.field] == case["error"]
    assert_says(str(error), case["message"])


# On the wire, past every check of the client


@pytest.fixture(scope="module")
def stub(faulty_server):
    with grpc.insecure_channel(faulty_server.target) as channel:
        yield jepa_pb2_grpc.WorldModelServiceStub(channel)


def filled(request, values):
    """A request with values by dotted path, whatever they are."""
    for path, value in values.items():
        *parents, name = path.split(".")
        part = request
        for parent in parents:
            part = getattr(part, parent)
        if name in TENSORS:
            getattr(part, name).CopyFrom(tensor(value))
        elif name == "extra_info":
            part.extra_info.update(value)
        else:
            setattr(part, name, value)
    return request


def tensor(value):
    """The message of an array, or of {"wire": [dtype, shape, number of bytes]}."""
    if isinstance(value, dict):
        dtype, shape, size = value["wire"]
        return jepa_pb2.Tensor(dtype=dtype, shape=shape, data=bytes(size))
    dtype = jepa_pb2.DataType.Value(f"DATA_TYPE_{value.dtype.name.upper()}")
    return jepa_pb2.Tensor(dtype=dtype, shape=value.shape, data=value.tobytes())


def by_score(stub, *requests):
    """The scores or the error of each request."""
    for values in requests:
        try:
            yield stub.Score(filled(jepa_pb2.ScoreRequest(), values), timeout=DEADLINE).scores
        except grpc.RpcError as error:
            yield from_rpc_error(error, "server")


def by_stream(stub, *requests):
    """The same on one stream."""
    messages = [filled(jepa_pb2.ScoreStreamRequest(), values) for values in requests]
    for response in stub.ScoreStream(iter(messages), timeout=DEADLINE):
        yield from_message(response.error) if response.HasField("error") else response.score.scores


DOORS = {"score": by_score, "stream": by_stream}


@pytest.mark.parametrize(("door", "case"), requests_at("score", "stream"))
def test_the_server_itself_refuses_a_bad_request(stub, door, case):
    good = sent(REQUESTS["good"], {})
    error, scores = DOORS[door](stub, sent(REQUESTS["good"], case), good)
    assert_fails_as(case, error)
    assert np.isfinite(scores).all()
    assert len(scores) == 4


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_at_fault_is_named(stub, door, name):
    good = sent(REQUESTS["good"], {})
    error, scores = DOORS[door](stub, good | {"model": name}, good)
    assert_fails_as(MODELS[name], error)
    assert len(scores) == 4


# In the client


@pytest.fixture(scope="module")
def client(faulty_server):
    with Client(faulty_server.target, timeout=DEADLINE) as client:
        yield client


def keywords(values):
    """The arguments of `score` from values by dotted path."""
    arguments = {}
    for path, value in values.items():
        *owner, name = path.removeprefix("context.").removeprefix("options.").split(".")
        (arguments.setdefault(owner[0], {}) if owner else arguments)[name] = value
    return arguments


@pytest.mark.parametrize(("_", "case"), requests_at("client"))
def test_the_client_refuses_a_bad_request_before_it_is_sent(client, _, case):
    with pytest.raises(JepaError) as caught:
        client.score(**keywords(sent(REQUESTS["good"], case)))
    assert_fails_as(case, caught.value)
    assert not isinstance(caught.value.__context__, grpc.RpcError)
    assert len(client.score(**keywords(sent(REQUESTS["good"], {}))).scores) == 4


# At the start


@pytest.fixture
def bare_environment(monkeypatch):
    """No setting of the caller's shell names weights, and paths are from the root of the repository."""
    for name in ("JEPAWM_LOGS", "JEPA_WMS_MODEL_PATH", "JEPA_WMS_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "GRPC_VERBOSITY"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # or the start would set it, for good
    monkeypatch.chdir(Path(__file__).parents[2])


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize("name", [name for name in LOADING if name != "missing-torch"])
def test_a_model_that_cannot_be_loaded_ends_the_start_with_one_line(name, monkeypatch, caplog, capsys):
    model, says = (LOADING[name][key].replace("STAND_IN", str(STAND_IN)) for key in ("model", "says"))
    monkeypatch.setattr(sys, "argv", ["", "--listen", "127.0.0.1:0", "--model", model])
    assert cli.main() == 1
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    assert_says(line, f"cannot start: {says}")
    assert "\n" not in line
    assert capsys.readouterr().out == ""


def test_without_torch_the_start_ends_with_one_line(tmp_path):
    (tmp_path / "torch.py").write_text("""raise ModuleNotFoundError("No module named 'torch'", name="torch")""")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "worldforge_jepa_server", "--listen", "127.0.0.1:0"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert_says(done.stderr, f"...cannot start: {LOADING['missing-torch']['says']}...\n")
    assert done.stderr.count("\n") == 1
