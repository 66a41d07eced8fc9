"""The dashboard: each expression gives something on a real Prometheus that scrapes a real server."""

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request

import pytest

from tests.deploy.files import DEPLOY, tool
from tests.docs.documents import free_port
from worldforge_jepa_client.tools.cli import main

DASHBOARD = json.loads((DEPLOY / "grafana" / "worldforge-jepa.json").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
DEADLINE = 60


def get(url):
    with urllib.request.urlopen(url, timeout=DEADLINE) as response:  # noqa: S310
        return json.load(response)


@pytest.fixture(scope="module")
def prometheus(start_server, tmp_path_factory):
    """A Prometheus that has scraped a server before and after a call and an error."""
    program, folder = tool("prometheus"), tmp_path_factory.mktemp("prometheus")
    server = start_server("--threads", "1", "--metrics-address", "127.0.0.1:0")
    server.wait_logged("metrics at ")
    address = re.search(r"metrics at http://([^/]+)", server.log)[1]
    scrape = {"job_name": "worldforge-jepa", "static_configs": [{"targets": [address]}]}
    config = {"global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"}, "scrape_configs": [scrape]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    url = f"http://127.0.0.1:{free_port()}"
    flags = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    command = [program, *flags, f"--web.listen-address={url.removeprefix('http://')}", "--log.level=error"]
    with subprocess.Popen(command) as process:
        for model in ("tiny", "absent"):
            main(["score", "--random", "--target", server.target, "--model", model])
        yield url
        process.kill()


def samples(url, expression):
    """The values of an expression, once there is one."""
    query = urllib.parse.urlencode({"query": expression.replace("$__rate_interval", "1m")})
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            found = get(f"{url}/api/v1/query?{query}")["data"]["result"]
        except OSError:  # Prometheus is starting
            found = []
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing for {expression}")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_gives_something(prometheus, expression):
    assert samples(prometheus, expression)
