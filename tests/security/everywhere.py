"""`pytest --secured`: servers of the tests speak TLS, want a token, publish metrics and log JSON, and clients match them.

Settings and credentials come from the environment, as an operator's may, so that the tests themselves stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio

from tests.security import certificates

SETTINGS: dict[str, str] = {}
"""Of a server in the test's own process, which reads no environment."""

_SCRAPE_SECONDS = 0.5


def secure(files: certificates.Files) -> None:
    """Secure what is started and opened from now on, channels that a test makes by itself included."""
    cert, key = files.pair("server")
    SETTINGS.update(tls_cert=cert, tls_key=key, token_file=files.token_file)
    settings = SETTINGS | {"metrics_address": "127.0.0.1:0", "log_format": "json"}
    shown = {"token": certificates.TOKENS["arm"], "cacert": files.cacert}
    os.environ |= {f"WORLDFORGE_JEPA_{name.upper()}": value for name, value in (settings | shown).items()}
    token = grpc.access_token_call_credentials(shown["token"])
    credentials = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(files.read("ca.pem")), token)
    for module in (grpc, grpc.aio):
        _replace_channels(module, credentials)


def _replace_channels(module: Any, credentials: grpc.ChannelCredentials) -> None:
    name = ("grpc.ssl_target_name_override", "localhost")  # of a socket file, which has none

    def secure_channel(target: str, options: Any = ()) -> Any:
        return module.secure_channel(target, credentials, [*(options or ()), name])

    module.insecure_channel = secure_channel


@contextlib.contextmanager
def watched(server: Any) -> Iterator[None]:
    """Scrape a secured server's metrics all along, and see in the end that each line of its log is JSON."""
    found = re.search(r"metrics at (http://[^\s\"]+)", server.log) if SETTINGS else None
    if not found:
        yield
        return
    scraped, over = [], threading.Event()

    def scrape() -> None:
        with contextlib.suppress(OSError):  # a server that was killed
            while not over.wait(_SCRAPE_SECONDS if scraped else 0):
                with urllib.request.urlopen(found[1], timeout=60) as response:  # noqa: S310
                    scraped.append(response.read())

    scraping = threading.Thread(target=scrape)
    scraping.start()
    try:
        yield
    finally:
        over.set()
        scraping.join()
    assert not scraped or b"worldforge_jepa_ready" in scraped[-1]
    for line in server.log.splitlines():
        assert json.loads(line).keys() >= {"level", "message"}
