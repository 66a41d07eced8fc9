"""The flags that every command has to reach a server, and the client or channel that they ask for."""

from __future__ import annotations

import argparse

import grpc

from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.channel import channel_options, checked_target, default_target
from worldforge_jepa_client.rpc.sync.client import Client


def add_arguments(parser: argparse.ArgumentParser, *, timeout: float = 10.0) -> None:
    """Declare the flags; `timeout` is the default of its flag, in seconds."""
    target = default_target()
    parser.add_argument("--target", default=target, help=f"a running server (default: {target})")
    parser.add_argument(
        "--timeout", type=float, default=timeout, help=f"seconds that one call may take (default: {timeout:g})"
    )


def connect(arguments: argparse.Namespace) -> Client:
    """Return a client of the server that the flags name."""
    return Client(arguments.target, timeout=arguments.timeout)


def channel(arguments: argparse.Namespace) -> grpc.Channel:
    """Return a channel to it, for another service than the client's."""
    target = checked_target(arguments.target)
    return grpc.insecure_channel(target, options=channel_options(target))


def advice(reason: str) -> str:
    """Return what to do about an error, behind a semicolon; empty where its message says so already."""
    if reason.upper() != Reason.UNAVAILABLE:
        return ""
    return "; is a server running? `worldforge-jepa-server` starts one, `worldforge-jepa health --wait` waits for it"
