"""Metrics: what a call leaves behind, what Prometheus' own checker says, and what is off by default."""

import re
import shutil
import subprocess
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.scenes import candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_server.config import StartError
from worldforge_jepa_server.rpc.observability.metrics import serve_metrics
from worldforge_jepa_server.rpc.observability.tally import Tally

DEADLINE = 60
S, H = 5, 3
JEPA = "worldforge_jepa_"
LABELS = {"grpc_service": "worldforge.jepa.v1.WorldModelService"}


def metrics_url(server):
    server.wait_logged("metrics at ")
    return re.search(r"metrics at (http://\S+)", server.log)[1]


def read(url):
    with urllib.request.urlopen(url, timeout=DEADLINE) as response:  # noqa: S310
        return response.read().decode()


class Reading:
    """The samples of one reading."""

    def __init__(self, text):
        families = text_string_to_metric_families(text)
        self._samples = [sample for family in families for sample in family.samples]
        self.names = {sample.name for sample in self._samples}

    def __call__(self, name, **labels):
        return sum(each.value for each in self._samples if each.name == name and labels.items() <= each.labels.items())


@pytest.fixture(scope="module")
def observed(start_server):
    return start_server("--model", "tiny", "--threads", "1", "--metrics-address", "127.0.0.1:0")


@pytest.fixture(scope="module")
def reading(observed):
    """The metrics after two scores, a stream of three messages, a plan and a refusal."""
    arrays = candidates(samples=S, horizon=H)
    with Client(observed.target, timeout=DEADLINE) as client:
        for _ in range(2):
            client.score(**scene(), action_candidates=arrays)
        with client.session(**scene()) as session:
            for _ in range(3):
                session.score(arrays)
            open_session = Reading(read(metrics_url(observed)))
            assert open_session(f"{JEPA}streams") == 1
        client.plan(**scene(), horizon=H, samples=S, elites=2, iterations=2).result()
        client.create_context(**scene())
        with pytest.raises(JepaError):
            client.score(**scene(), action_candidates=arrays, model="nobody's")
    end = time.monotonic() + DEADLINE
    while not (counted := Reading(read(metrics_url(observed))))("grpc_server_handled_total", grpc_code="NOT_FOUND"):
        assert time.monotonic() < end, "the server counts a call just after its caller has the answer, not never"
    return counted


def test_calls_are_counted_by_method_and_code(reading):
    unary = LABELS | {"grpc_type": "unary", "grpc_method": "Score"}
    assert reading("grpc_server_started_total", **unary) == 2
    assert reading("grpc_server_handled_total", **unary, grpc_code="OK") == 2
    assert reading("grpc_server_handling_seconds_count", **unary) == 2
    refused = LABELS | {"grpc_type": "unary", "grpc_method": "GetModel"}
    assert reading("grpc_server_handled_total", **refused, grpc_code="NOT_FOUND") == 1
    received, sent = (reading(f"grpc_server_msg_{way}_total", **refused) for way in ("received", "sent"))
    assert received == sent + 1
    stream = {"grpc_type": "bidi_stream", "grpc_method": "ScoreStream"}
    assert reading("grpc_server_msg_received_total", **stream) >= 3
    assert reading("grpc_server_msg_sent_total", grpc_type="server_stream", grpc_method="Plan") == 2


def test_scores_are_counted_by_model_and_stage(reading):
    scored = 2 + 3 + 2
    assert reading(f"{JEPA}candidates_total", model="tiny") == scored * S
    assert reading(f"{JEPA}candidate_steps_total", model="tiny") == scored * S * H
    for stage in ("queue", "decode", "encode", "unroll", "distance", "total"):
        assert reading(f"{JEPA}stage_seconds_count", model="tiny", stage=stage) == scored
    assert 0 < reading(f"{JEPA}stage_seconds_sum", stage="unroll") < reading(f"{JEPA}stage_seconds_sum", stage="total")
    assert reading(f"{JEPA}batch_candidates_sum") == scored * S
    assert reading(f"{JEPA}batch_requests_count") == scored


def test_errors_are_counted_by_reason_and_no_label_holds_what_a_client_sent(reading, observed):
    assert reading(f"{JEPA}errors_total", reason="MODEL_NOT_FOUND") == 1
    assert "nobody's" not in read(metrics_url(observed))


def test_the_state_of_the_server_is_published(reading):
    assert reading(f"{JEPA}ready") == 1
    assert reading(f"{JEPA}model_info", model="tiny", device="cpu") == 1
    assert reading(f"{JEPA}build_info") == 1
    assert reading(f"{JEPA}contexts") == 1
    assert (reading(f"{JEPA}encode_cache_misses_total"), reading(f"{JEPA}encode_cache_hits_total") > 0) == (2, True)
    assert reading(f"{JEPA}cache_bytes") == reading(f"{JEPA}device_memory_bytes", kind="cache") > 0
    assert reading(f"{JEPA}device_memory_bytes", kind="weights") > 0
    assert reading(f"{JEPA}queue_limit_candidate_steps") == 1_000_000
    assert reading(f"{JEPA}queue_candidate_steps") == reading(f"{JEPA}streams") == 0


@pytest.mark.usefixtures("reading")
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_complain_about(observed):
    text = read(metrics_url(observed))
    command = ["promtool", "check", "metrics", "--extended"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_an_address_that_is_taken_is_named(observed):
    taken = metrics_url(observed).removeprefix("http://").partition("/")[0]
    with pytest.raises(StartError, match=f"--metrics-address {taken}: Address already in use"):
        serve_metrics(taken, None, Tally())
