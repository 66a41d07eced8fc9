"""The flags that every command has to reach a server, and the client or channel that they ask for."""

from __future__ import annotations

import argparse
from dataclasses import replace

import grpc

from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.channel import checked_target, default_target, make_channel
from worldforge_jepa_client.rpc.credentials import Credentials
from worldforge_jepa_client.rpc.sync.client import Client


def add_arguments(parser: argparse.ArgumentParser, *, timeout: float = 10.0) -> None:
    """Declare the flags; `timeout` is the default of its flag, in seconds."""
    target = default_target()
    parser.add_argument("--target", default=target, help=f"a running server (default: {target})")
    parser.add_argument(
        "--timeout", type=float, default=timeout, help=f"seconds that one call may take (default: {timeout:g})"
    )
    parser.add_argument("--token", help="bearer token; in WORLDFORGE_JEPA_TOKEN no other user sees it")
    parser.add_argument("--cacert", help='CA certificates, PEM, or "system": speak TLS (also WORLDFORGE_JEPA_CACERT)')
    parser.add_argument("--cert", help="certificate of the client, PEM (also WORLDFORGE_JEPA_CLIENT_CERT)")
    parser.add_argument("--key", help="its private key, PEM (also WORLDFORGE_JEPA_CLIENT_KEY)")


def credentials(arguments: argparse.Namespace) -> Credentials:
    """Return what the flags say, and for those left out the environment."""
    return _of_flags(arguments).or_environment(arguments.target or default_target())


def connect(arguments: argparse.Namespace) -> Client:
    """Return a client of the server that the flags name."""
    return Client(arguments.target, timeout=arguments.timeout, **credentials(arguments).keywords())


def channel(arguments: argparse.Namespace) -> grpc.Channel:
    """Return a channel to it, for another service than the client's; calls on it carry no token."""
    target = checked_target(arguments.target)
    shown = replace(_of_flags(arguments), token="").or_environment(target)
    made: grpc.Channel = make_channel(target, shown.channel_credentials(), options=())
    return made


def _of_flags(arguments: argparse.Namespace) -> Credentials:
    return Credentials(arguments.token, arguments.cacert, arguments.cert, arguments.key)


def advice(reason: str) -> str:
    """Return what to do about an error, behind a semicolon; empty where its message says so already."""
    if reason.upper() != Reason.UNAVAILABLE:
        return ""
    return "; is a server running? `worldforge-jepa-server` starts one, `worldforge-jepa health --wait` waits for it"
