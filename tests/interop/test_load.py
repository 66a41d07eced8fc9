"""The load generator and the harness: they count what happened, and time only that."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from benchmarks.harness import calling, interleave
from benchmarks.load import generator, ghz
from benchmarks.load.outcome import Load, Outcome, table
from benchmarks.load.watch import Memory
from benchmarks.report import ENOUGH, Target, p50_p99, text
from worldforge_jepa_client import Client, wire
from worldforge_jepa_client.tools.calldata import calldata, delimited

SECONDS, CALLERS, MESSAGES = 0.3, 3, 2


@pytest.fixture(scope="module")
def files(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    with Client(server.target, timeout=30) as client:
        requests = calldata(client.model(), samples=1, horizon=1, count=MESSAGES, seed=0)
    no_scene = wire.stream_request(None, np.zeros((1, 1, 1, 10), np.float32))
    contents = {"Score": requests["Score"], "ScoreStream": requests["ScoreStream"], "NoScene": [no_scene]}
    for name, content in contents.items():
        (folder / name).write_bytes(delimited(content))
    return folder


def load(server, files, method, *, name=None, rate=0.0, target=None):
    return Load(target or server.target, method, files / (name or method), SECONDS, 2, CALLERS, rate)


@pytest.mark.parametrize("method", ["Score", "ScoreStream"])
def test_a_closed_loop_calls_again_and_again_without_an_error(server, files, method):
    outcome = generator.run(load(server, files, method))
    assert outcome.errors == {}
    assert outcome.latencies.get_total_count() >= CALLERS
    assert outcome.seconds >= SECONDS


def test_an_open_loop_makes_the_calls_that_its_rate_asks_for(server, files):
    outcome = generator.run(load(server, files, "Score", rate=20))
    assert (outcome.latencies.get_total_count(), outcome.errors) == (20 * SECONDS, {})


def test_refusals_are_counted_by_reason_and_not_timed(server, files):
    refused = generator.run(load(server, files, "ScoreStream", name="NoScene"))
    assert set(refused.errors) == {"NO_SCENE"}
    unreachable = generator.run(load(server, files, "Score", target="127.0.0.1:1"))
    assert set(unreachable.errors) == {"UNAVAILABLE"}
    for outcome in (refused, unreachable):
        assert outcome.errors.total() >= CALLERS
        assert outcome.latencies.get_total_count() == 0


def test_ghz_reports_read_like_our_own():
    details = [{"latency": 2_000_000, "status": "OK", "error": ""}] * 3
    details += [{"latency": 9_000_000, "status": "Unavailable", "error": "gone"}]
    outcome = ghz.read(json.dumps({"total": 1_500_000_000, "details": details}), "Score")
    assert outcome.errors == {"Unavailable": 1}
    assert outcome.rate == pytest.approx(2)
    assert outcome.milliseconds(100) == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(
    ("usage", "says"),
    [
        (None, "ghz is not installed; our own generator makes the load. To have it: go install "),
        ("--binary-file", "ghz is too old; our own generator makes the load. To renew it: go install "),
        ("--binary-file --max-recv-message-size", ""),
    ],
)
def test_a_ghz_that_cannot_be_used_is_said_so_in_one_line(tmp_path, monkeypatch, usage, says):
    monkeypatch.setenv("PATH", str(tmp_path))
    if usage:
        (tmp_path / "ghz").write_text(f"#!/bin/sh\necho '{usage}' >&2\n")
        (tmp_path / "ghz").chmod(0o755)
    said = ghz.unusable()
    assert says in said
    assert bool(said) is bool(says)
    assert "\n" not in said


@pytest.mark.skipif(bool(ghz.unusable()), reason=ghz.unusable())
@pytest.mark.parametrize("method", ["Score", "ScoreStream"])
@pytest.mark.parametrize("rate", [0.0, 20.0])
def test_ghz_takes_the_same_files(server, files, method, rate):
    one_second = Load(server.target, method, files / method, 1.0, 2, CALLERS, rate)
    outcome = ghz.run(one_second)
    assert outcome.errors == {}
    assert outcome.latencies.get_total_count() > 0


def test_the_table_of_a_load_holds_percentiles_and_errors(tmp_path):
    outcome = Outcome("some", errors=Counter(QUEUE_FULL=2), seconds=10)
    for milliseconds in range(1, 101):
        outcome.answered(milliseconds / 1e3)
    result = table([outcome, Outcome("none")], "hand")
    result.save(tmp_path, {})
    assert {path.name for path in tmp_path.iterdir()} == {"load.json", "load.md", "load.png"}
    row = json.loads((tmp_path / "load.json").read_text())["rows"][0]
    assert (row["calls"], row["calls/s"], row["errors"]) == (100, 10, "QUEUE_FULL 2")
    assert row["p50 ms"] == pytest.approx(50, rel=1e-3)
    assert row["p99 ms"] == "-"  # of a hundred calls
    assert row["max ms"] == pytest.approx(100, rel=1e-3)
    assert text(result) == (tmp_path / "load.md").read_text()


@pytest.mark.parametrize("growth", [0.0, 0.5])
def test_growth_of_memory_is_a_slope_that_a_start_does_not_hide(growth):
    seconds = [float(second) for second in range(100)]
    filling = [100 + min(second, 40) + growth * second for second in seconds]
    assert Memory(seconds, filling).slope == pytest.approx(60 * growth, abs=1e-6)


@pytest.mark.parametrize(
    ("measured", "at_least", "met"),
    [(1, False, True), (2, False, False), (1, True, False), (2, True, True), (math.nan, False, False)],
)
def test_a_target_is_met_or_missed(measured, at_least, met):
    assert Target("it", measured, 1.5, at_least=at_least).met is met


def test_few_measurements_have_a_maximum_and_no_99th_percentile():
    values = np.arange(ENOUGH) / 1e3
    assert p50_p99(values) == pytest.approx((149.5, 296.01))
    assert p50_p99(values[1:]) == (150, "299 (max of 299)")


def test_variants_are_interleaved_and_the_first_round_is_discarded():
    done = []
    ways = {name: calling(lambda name=name: done.append(name)) for name in "ab"}
    taken = interleave(ways, 0.0, calls=2)
    assert "".join(done) == "aabb" * 3
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 4, "b": 4}
