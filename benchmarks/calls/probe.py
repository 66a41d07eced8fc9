"""`python -m benchmarks.calls.probe TARGET SECONDS`: ask a server's health, print the seconds of each answer.

It is a process of its own: a process that loads the server could not measure its own latency reliably.
"""

from __future__ import annotations

import json
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PAUSE = 0.01


def main() -> None:
    """Ask until the time is over."""
    target, seconds = sys.argv[1], float(sys.argv[2])
    answers = []
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest(), timeout=10)  # connects, which is not what is measured
        deadline = time.perf_counter() + seconds
        while (began := time.perf_counter()) < deadline:
            stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
            answers.append(time.perf_counter() - began)
            time.sleep(PAUSE)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
