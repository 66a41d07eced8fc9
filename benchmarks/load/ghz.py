"""The same load by ghz (github.com/bojand/ghz), which has to be installed."""

from __future__ import annotations

import json
import shutil
import subprocess

from benchmarks.load.outcome import Load, Outcome
from worldforge_jepa_client.tools.calldata import SERVICE

INSTALL = "go install github.com/bojand/ghz/cmd/ghz@v0.121.0"
_NEEDED_FLAG = "--max-recv-message-size"  # a ghz that go has installed does not know its version; an old one lacks this
_MAX_MESSAGE = "64MB"


def unusable() -> str:
    """Say why ghz cannot make the load and what makes it instead; empty where it can."""
    path = shutil.which("ghz")
    if path is None:
        return f"ghz is not installed; our own generator makes the load. To have it: {INSTALL}"
    usage = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
    if _NEEDED_FLAG not in usage.stdout + usage.stderr:
        return f"{path} is too old; our own generator makes the load. To renew it: {INSTALL}"
    return ""


def command(load: Load) -> list[str]:
    """The command line of a load; without --proto ghz asks the server's reflection what a method takes."""
    loop = ["--async", "--rps", f"{load.rate:.0f}"] if load.rate else []
    return [
        "ghz",
        "--insecure",
        *("--call", f"{SERVICE}/{load.method}"),
        *("--binary-file", str(load.requests)),
        *("--duration", f"{load.seconds:.0f}s"),
        *("--duration-stop", "wait"),
        *("--timeout", f"{load.timeout:.0f}s"),
        *("--connections", str(load.connections)),
        *("--concurrency", str(load.concurrency)),
        *loop,
        *(_NEEDED_FLAG, _MAX_MESSAGE),
        *("--format", "json"),
        load.target,
    ]


def run(load: Load) -> Outcome:
    """Make the load."""
    done = subprocess.run(command(load), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"ghz failed: {done.stderr.strip() or done.stdout.strip()}")
    return read(done.stdout, load.name)


def read(report: str, name: str) -> Outcome:
    """Read ghz's JSON report; it knows of errors no more than their status."""
    content = json.loads(report)
    outcome = Outcome(name, seconds=content["total"] * 1e-9)
    for call in content["details"]:
        if call["status"] == "OK":
            outcome.answered(call["latency"] * 1e-9)
        else:
            outcome.errors[call["status"]] += 1
    return outcome
