"""`worldforge-jepa top`: rates and percentiles between two readings of /metrics."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from worldforge_jepa_client.tools.cli import main
from worldforge_jepa_client.tools.operate.metrics import Interval, Snapshot

CALLS = 'grpc_server_started_total{{grpc_method="{}"}} {}'
REASON = 'worldforge_jepa_errors_total{reason="QUEUE_FULL"}'
FIRST = f"""
{CALLS.format("Score", 5)}
{CALLS.format("Plan", 0)}
worldforge_jepa_ready 1.0
worldforge_jepa_build_info{{version="0.1.0"}} 1.0
worldforge_jepa_model_info{{model="tiny"}} 1.0
worldforge_jepa_queue_candidate_steps 500.0
worldforge_jepa_queue_limit_candidate_steps 1000.0
worldforge_jepa_cache_bytes 1048576.0
worldforge_jepa_contexts 2.0
{REASON} 3.0
"""
READINGS = (FIRST, FIRST.replace(f"{REASON} 3.0", f"{REASON} 4.0"))


@pytest.fixture
def published():
    """Publishes texts at a URL, one for each reading, and then the last one."""

    def handler(texts):
        left = list(texts)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                text = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        return Handler

    def publish(*texts):
        server.RequestHandlerClass = handler(texts)
        return f"http://127.0.0.1:{server.server_port}/metrics"

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield publish
        server.shutdown()


def interval(seconds=2.0, **samples):
    """The interval between two readings of these samples: name=[(labels, before, after), ...]."""
    before, now = (
        Snapshot(at, {name: [(each[0], each[index]) for each in rows] for name, rows in samples.items()})
        for at, index in ((0.0, 1), (seconds, 2))
    )
    return Interval(before, now)


def test_a_rate_is_the_increase_a_second_of_every_series_with_the_labels():
    calls = [({"code": "OK"}, 10.0, 14.0), ({"code": "ABORTED"}, 0.0, 2.0)]
    assert interval(calls=calls).rate("calls") == 3.0
    assert interval(calls=calls).rate("calls", code="OK") == 2.0
    assert interval(calls=calls).rate("others") == 0.0


def test_a_counter_that_a_restart_reset_starts_at_0():
    assert interval(calls=[({}, 10.0, 4.0)]).rate("calls") == 2.0


def test_a_mean_is_that_of_the_interval():
    assert interval(size_sum=[({}, 100.0, 112.0)], size_count=[({}, 10.0, 14.0)]).mean("size") == 3.0
    assert interval(size_sum=[({}, 1.0, 1.0)], size_count=[({}, 1.0, 1.0)]).mean("size") is None


@pytest.mark.parametrize(("share", "expected"), [(0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (1.0, 2.0)])
def test_a_quantile_is_linear_inside_a_bucket(share, expected):
    buckets = [({"le": "1.0"}, 5.0, 9.0), ({"le": "2.0"}, 5.0, 13.0), ({"le": "+Inf"}, 5.0, 13.0)]
    assert interval(wait_bucket=buckets).quantile(share, "wait") == expected


def test_a_quantile_beyond_the_last_bound_is_that_bound():
    buckets = [({"le": "1.0"}, 0.0, 0.0), ({"le": "+Inf"}, 0.0, 4.0)]
    assert interval(wait_bucket=buckets).quantile(0.5, "wait") == 1.0
    assert interval(wait_bucket=[({"le": "+Inf"}, 4.0, 4.0)]).quantile(0.5, "wait") is None


def test_json_is_a_line_for_each_reading(published, capsys):
    assert main(["top", "--metrics", published(*READINGS), "--interval", "0", "--count", "2", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["errors"]["QUEUE_FULL"]["total"] == second["errors"]["QUEUE_FULL"]["total"] == 4
    assert first["errors"]["QUEUE_FULL"]["rate"] > second["errors"]["QUEUE_FULL"]["rate"] == 0
    assert list(first["methods"]) == ["Score"]
    assert (first["ready"], first["version"], first["cache"]["contexts"]) == (True, "0.1.0", 2)


def test_the_screen_names_what_an_operator_looks_for(published, capsys):
    assert main(["top", "--metrics", published(*READINGS), "--interval", "0", "--count", "1"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for text in ("worldforge-jepa-server 0.1.0: ready", "500 of 1,000", "1.0 MiB, 2 contexts", "QUEUE_FULL"):
        assert text in shown


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("file:///etc/passwd", "metrics: is 'file:///etc/passwd'; expected http://host:port/metrics"),
        ("http://{dead}/metrics", "Connection refused; a server publishes metrics with --metrics-address"),
    ],
)
def test_a_url_without_metrics_is_one_line(dead_target, capsys, url, problem):
    assert main(["top", "--metrics", url.format(dead=dead_target)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line


def test_an_answer_that_is_no_metrics_is_one_line(published, capsys):
    assert main(["top", "--metrics", published("<html>")]) == 1
    assert "the answer is not Prometheus's text" in capsys.readouterr().err
