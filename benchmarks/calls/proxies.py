"""(h) The time that a proxy adds to a call: each of deploy/proxies that is installed, before one server."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import trustme
from matplotlib.axes import Axes

from benchmarks.calls.baselines import SHAPE
from benchmarks.calls.proxy import PROXIES, before
from benchmarks.harness import Seconds, Variant, calling, interleave, median
from benchmarks.report import Table, grouped_bars, p50_p99
from benchmarks.servers import serving
from worldforge_jepa_client import Client

SECONDS, CALLS = 20, 10
DIRECT, SESSION, UNARY = "no proxy", "session", "unary"
FRAME = np.zeros((1, 1, 3, 224, 224), np.uint8)


def measure(effort: float) -> Table:
    """Score in a session and in unary calls with their scene, directly and through each proxy, in turns."""
    candidates = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    scene: dict[str, Any] = {"observation": FRAME, "goal": FRAME}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving("--model", "trivial", "--threads", "1", module="benchmarks.trivial"))
        clients = {DIRECT: stack.enter_context(Client(server.target, timeout=60))}
        for name, proxy in PROXIES.items():
            if proxy.executable:
                folder = certificates(Path(stack.enter_context(TemporaryDirectory())))
                running = stack.enter_context(before(server.target, proxy, folder))
                client = Client(running.target, cacert=folder / "ca.crt", timeout=60)
                clients[name] = stack.enter_context(client)
        variants: dict[str, Variant] = {}
        for name, client in clients.items():
            session = stack.enter_context(client.session(**scene))
            variants[f"{SESSION}, {name}"] = calling(partial(session.score, candidates))
            variants[f"{UNARY}, {name}"] = calling(partial(client.score, **scene, action_candidates=candidates))
        return _table(interleave(variants, SECONDS * effort, calls=CALLS), list(clients))


def certificates(folder: Path) -> Path:
    """Write a certificate for this host, its key, both in one file, and the authority that signs it."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    made.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    made.private_key_pem.write_to_path(folder / "tls.key")
    made.private_key_and_cert_chain_pem.write_to_path(folder / "tls.pem")
    return folder


def _table(taken: dict[str, Seconds], names: list[str]) -> Table:
    rows = []
    for name in names:
        row: list[str | float] = [name]
        for kind in (SESSION, UNARY):
            seconds = taken[f"{kind}, {name}"]
            row += [*p50_p99(seconds), 1e3 * (median(seconds) - median(taken[f"{kind}, {DIRECT}"]))]
        rows.append(row)

    def draw(axes: Axes) -> None:
        times: dict[str, Sequence[float]] = {
            kind: [1e3 * median(taken[f"{kind}, {name}"]) for name in names] for kind in (SESSION, UNARY)
        }
        grouped_bars(axes, names, times)
        axes.set_xlabel("median time of a call, ms")

    return Table(
        "proxies",
        "A call through a proxy with TLS, and directly without: trivial model, unary calls with two frames",
        ("proxy", "session p50 ms", "session p99", "adds ms", "unary p50 ms", "unary p99", "unary adds ms"),
        rows,
        draw,
    )
