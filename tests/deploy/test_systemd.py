"""The systemd unit: correct and sandboxed, and its command line starts a server that tells systemd its state."""

import configparser
import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from tests.deploy.files import DEPLOY, as_here, tool

UNIT = DEPLOY / "systemd" / "worldforge-jepa.service"
MOST_EXPOSED = 20  # tenths; systemd calls below 2 "OK"
DEADLINE = 60


@pytest.fixture
def unit(tmp_path):
    """The unit in a folder of its own, with a program that is installed here."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/opt/worldforge-jepa/bin/worldforge-jepa-server", sys.executable))
    return path


def test_systemd_finds_no_mistake_in_the_unit(unit):
    done = subprocess.run([tool("systemd-analyze"), "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_no_mistake_with_the_cuda_drop_in(unit):
    folder = unit.with_name(f"{unit.name}.d")
    folder.mkdir()
    shutil.copy(DEPLOY / "systemd" / "cuda.conf", folder)
    done = subprocess.run([tool("systemd-analyze"), "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sandbox_exposes_little():
    command = [tool("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED}", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_command_line_starts_a_server_that_tells_systemd_its_state(tmp_path):
    parsed = configparser.RawConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str
    parsed.read(UNIT)
    command = parsed["Service"]["ExecStart"].replace("/etc/worldforge-jepa", str(DEPLOY / "systemd"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE)
        free = {f"WORLDFORGE_JEPA_{name}": "127.0.0.1:0" for name in ("LISTEN", "METRICS_ADDRESS")}
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")} | free
        process = subprocess.Popen(as_here(command), env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            ready, status = systemd.recv(4096).decode().splitlines()
            assert ready == "READY=1"
            assert status.startswith("STATUS=serving on 127.0.0.1:")
            process.send_signal(signal.SIGTERM)
            assert systemd.recv(4096) == b"STOPPING=1"
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
            process.communicate()
