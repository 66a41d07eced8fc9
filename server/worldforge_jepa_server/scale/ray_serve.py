"""The service on Ray Serve: `python -m worldforge_jepa_server.scale.ray_serve deploy/ray/serve.yaml`.

Ray's HAProxy routes each connection's calls to the gRPC server of a replica, which has the handlers of a plain server.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from worldforge_jepa_client.errors import UnavailableError, nearest
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_server.config import ConfigError, ServerConfig
from worldforge_jepa_server.config_file import read_config
from worldforge_jepa_server.rpc.intake import Intake
from worldforge_jepa_server.rpc.servicer import SERVICE_NAME, generic_handler

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from ray.serve import Application
    from ray.serve.config import AutoscalingContext

ENVIRONMENT: Mapping[str, str] = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",  # Serve's Python proxy costs five times a direct call
    # Calls of a session id, and so its contexts, go to one replica, and stay there when others come and go.
    "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": "hdr(session_id)\n    hash-type consistent",
    "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "131072",
    "RAY_SERVE_HAPROXY_H2_MAX_FRAME_SIZE": "65536",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": "67108864",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",  # the runtime lives on the loop of the gRPC server
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",  # 0 loses calls on a redeploy, 30 is the default
    # A proxy takes seconds to start on a busy machine; after three late answers Ray would end it.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "30",
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""Variables of every Ray process, on every node; the user's own values win."""

_ARGUMENTS = ("config",)
_MANY = 10_000
_HELD_BYTES = 64 << 20  # of calls that are refused


def application(arguments: Mapping[str, str]) -> Application:
    """Return the application that `serve.yaml` names in `import_path`; its `args` may have `config`, a TOML file.

    The file is the plain server's, read where the application is built. Ray's settings stand in the YAML.

    Raises:
        ConfigError: an argument or a setting is not known, or malformed.
    """
    from ray import serve

    from worldforge_jepa_server.scale.replica import Replica

    for name in arguments:
        if name not in _ARGUMENTS:
            raise ConfigError(name, f"{name} is no argument of the application{nearest(name, _ARGUMENTS)}")
    path = arguments.get("config", "")
    config = ServerConfig(**(read_config(Path(path)) if path else {}))
    deploy: Any = serve.deployment(
        name="WorldModel",
        max_ongoing_requests=_MANY,  # an open stream holds one, however idle; the server's own queue is the limit
        graceful_shutdown_timeout_s=config.drain_seconds,
        health_check_period_s=2,
    )
    bound: Application = deploy(Replica).bind(config)
    return bound


def add_to_server(_: object, server: Any) -> None:
    """Give a gRPC server of Ray the service and health: named in `grpc_servicer_functions`, called in each process.

    In a replica they are the plain server's; in the proxy, which answers while there is no replica, all fails.
    """
    from worldforge_jepa_server.scale import replica

    for name in (SERVICE_NAME, health.SERVICE_NAME):
        server.add_passthrough_service(name)
    if replica.host is None:
        server.add_generic_rpc_handlers((generic_handler(_NoReplica()),))
        health_pb2_grpc.add_HealthServicer_to_server(_not_serving(), server)
        return
    super(type(server), server).add_generic_rpc_handlers(replica.host.handlers())  # Ray's own wants one at a time
    health_pb2_grpc.add_HealthServicer_to_server(replica.host.health, server)


def by_pending_work(context: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Return how many replicas the pending work needs, at `target_ongoing_requests` jobs each.

    Ray's own policy counts open calls, and a session that only waits is one.
    """
    pending = sum((context.aggregated_metrics or {}).get("pending", {}).values())
    each = context.config.target_ongoing_requests if context.config else 1
    return max(1.0, math.ceil(pending / each)), {}


class _NoReplica:
    """The service where there is no replica: every method fails."""

    def __init__(self) -> None:
        self.intake = Intake(capacity=_HELD_BYTES)

    def __getattr__(self, method: str) -> Any:
        if method in ("ScoreStream", "Unroll", "Plan"):
            return _fail_stream
        return _fail


def _no_replica() -> UnavailableError:
    return UnavailableError("no replica is running", reason=Reason.NO_REPLICA, retry_after=1.0)


async def _fail(*_: object) -> Message:
    raise _no_replica()


async def _fail_stream(*_: object) -> AsyncGenerator[Message, None]:
    raise _no_replica()
    yield  # makes this a generator


def _not_serving() -> Any:
    """Return health where there is no replica."""
    servicer = health.HealthServicer()
    for service in ("", SERVICE_NAME):
        servicer.set(service, HealthCheckResponse.NOT_SERVING)
    return servicer


def main() -> None:
    """Run `serve run` on the arguments, with what Ray needs in its environment."""
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    from ray.serve.scripts import cli

    cli(["run", *sys.argv[1:]])


if __name__ == "__main__":
    main()
