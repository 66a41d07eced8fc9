"""macOS and Windows: neither is here, so what they lack is taken away from Python; and torch's devices besides cuda."""

import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch

from tests.support.scenes import RAW, candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import FailedPreconditionError
from worldforge_jepa_client.tools import local_server
from worldforge_jepa_server.app import listen
from worldforge_jepa_server.config import ConfigError, ServerConfig
from worldforge_jepa_server.device.clock import Clock
from worldforge_jepa_server.device.memory import memory_in_use, release
from worldforge_jepa_server.device.planner_arrays import DeviceArrays
from worldforge_jepa_server.models import devices
from worldforge_jepa_server.models.memory import is_out_of_memory
from worldforge_jepa_server.models.native.predictors import pose

SECONDS = 60
SYSTEMS = pytest.mark.parametrize("system", ["darwin", "win32"])


@SYSTEMS
def test_every_module_loads_and_a_server_serves_and_stops(system, client):
    with tempfile.TemporaryFile("w+") as log:
        flags = (system, "server", "--listen", "127.0.0.1:0", "--threads", "1", "--device", "auto")
        with local_server.start(*flags, module="tests.project.without_platform", log=log) as process:
            try:
                target = local_server.ready_address(process, SECONDS)
                with Client(target, timeout=SECONDS) as here:
                    scores = here.score(**scene(), action_candidates=candidates(), **RAW).scores
            finally:
                local_server.stop(process)
        log.seek(0)
        said = log.read()
    assert process.returncode == 0, said
    np.testing.assert_array_equal(scores, client.score(**scene(), action_candidates=candidates(), **RAW).scores)
    assert f"device: auto is {devices.chosen('auto')} here" in said
    assert "malloc: not glibc's, left as it is" in said


@SYSTEMS
def test_every_module_of_the_client_loads_and_calls_a_server(system, server):
    command = [sys.executable, "-m", "tests.project.without_platform", system, "client", server.target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, "SHARED_MEMORY_UNSUPPORTED\n"), done.stderr


def test_a_system_without_unix_sockets_or_shared_memory_says_so(monkeypatch):
    monkeypatch.setattr(listen, "UNIX_SOCKETS", False)
    with pytest.raises(listen.BindError, match="Python has no Unix sockets on this system"):
        listen.parse("unix:/tmp/jepa.sock")
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigError, match="needs Linux"):
        ServerConfig(shared_memory=True)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_is_the_best_device_here(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices.chosen("auto") == expected
    assert devices.chosen("cuda:1") == "cuda:1"


def test_mps_is_waited_for_measured_and_emptied(monkeypatch):
    done = []
    for name, result in (("synchronize", None), ("empty_cache", None)):
        monkeypatch.setattr(torch.mps, name, lambda name=name, result=result: done.append(name) or result)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 3)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 5)
    Clock("mps").lap("encode")
    release("mps")
    assert done == ["synchronize", "empty_cache"]
    assert memory_in_use("mps") == {"allocated": 3, "reserved": 5}
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 17.86 GB)"))


def test_float64_that_mps_lacks_is_an_error_to_the_caller_or_float32(monkeypatch):
    with pytest.raises(
        FailedPreconditionError, match="on_device: refits in float64, which mps does not have"
    ) as caught:
        DeviceArrays("mps", 0)
    assert caught.value.reason == "DTYPE_UNSUPPORTED"
    poses, actions = torch.rand(4, 7), torch.rand(4, 7)
    exact = pose.move_pose(poses, actions)
    monkeypatch.setattr(pose, "has_float64", lambda _: False)
    torch.testing.assert_close(pose.move_pose(poses, actions), exact, rtol=0, atol=1e-5)
