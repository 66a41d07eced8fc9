"""Ask gRPC's standard health service whether a server takes calls; the exit code is 0 if it does, else 1."""

from __future__ import annotations

import argparse
import json
import time

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from worldforge_jepa_client.errors import DeadlineExceededError, UnavailableError
from worldforge_jepa_client.rpc.channel import READY_POLL_SECONDS, deadline_after, remaining
from worldforge_jepa_client.tools import connection
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_client.wire.status import from_rpc_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    connection.add_arguments(parser)
    parser.add_argument("--wait", action="store_true", help="wait until it takes calls, for at most --timeout seconds")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the status and return 0 if it is SERVING."""
    status = health(arguments)
    print(json.dumps({"target": arguments.target, "status": status}) if arguments.json else status)
    return 0 if status == "SERVING" else 1


def health(arguments: argparse.Namespace) -> str:
    """Return the server's status, with `--wait` once it is SERVING or the time is over.

    Raises:
        JepaError: it does not answer, or is no gRPC server.
    """
    deadline, unavailable = deadline_after(arguments.timeout), None
    with connection.channel(arguments) as channel, Progress(f"waiting for {arguments.target}"):
        while True:
            try:
                status = _check(channel, arguments.target, deadline)
                if status == "SERVING" or not (arguments.wait and remaining(deadline)):
                    return status
            except DeadlineExceededError as late:  # the last try had little time; why the others failed says more
                raise unavailable or late from None
            except UnavailableError as error:
                if not (arguments.wait and remaining(deadline)):
                    raise
                unavailable = error
            time.sleep(READY_POLL_SECONDS)


def _check(channel: grpc.Channel, target: str, deadline: float) -> str:
    try:
        response = HealthStub(channel).Check(HealthCheckRequest(), timeout=remaining(deadline))
    except grpc.RpcError as error:
        raise from_rpc_error(error, target) from None
    return str(HealthCheckResponse.ServingStatus.Name(response.status))
