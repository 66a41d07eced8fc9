"""The conformance suite: a plain server keeps every promise, and one broken on purpose is named."""

import json
import re
from pathlib import Path

import pytest

from tests.conformance.breaks import BREAKS
from tests.conformance.middle import in_front_of
from worldforge_jepa_client.tools.cli import main
from worldforge_jepa_client.tools.conformance.command import PROMISES, hold, under_test

PROTO = Path(__file__).parents[2] / "protos/worldforge/jepa/v1/jepa.proto"
ELSEWHERE = {"latents-of-own-scores"}  # of models that the embedded one is not
EACH = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.name)


@EACH
async def test_a_plain_server_keeps_the_promise(promise, server):
    outcome = await hold(promise, await under_test(server.target))
    assert outcome.outcome == ("not applicable" if promise.name in ELSEWHERE else "kept"), outcome.detail


@EACH
async def test_a_server_that_breaks_the_promise_is_found_out(promise, server):
    async with in_front_of(server.target, BREAKS[promise.name]()) as target:
        outcome = await hold(promise, await under_test(target))
    assert (outcome.name, outcome.outcome) == (promise.name, "broken")
    assert outcome.detail


def test_every_promise_has_its_break():
    assert [promise.name for promise in PROMISES] == list(BREAKS)


@EACH
def test_a_promise_is_a_sentence_of_the_proto(promise):
    comments = re.findall(r"^\s*// ?(.*)$", PROTO.read_text(encoding="utf-8"), re.MULTILINE)
    assert promise.sentence in " ".join(comments)


def test_the_command_prints_a_line_for_each_and_counts(server, capsys):
    assert main(["conformance", "--target", server.target, "--only", "score-order", "--only", "context-ids"]) == 0
    kept, also_kept, summary = capsys.readouterr().out.splitlines()
    assert kept.split()[:2] == ["kept", "score-order"]
    assert also_kept.split()[:2] == ["kept", "context-ids"]
    assert summary == "2 kept, 0 broken, 0 not applicable"


def test_the_command_writes_json(server, capsys):
    assert main(["conformance", "--target", server.target, "--only", "score-order", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["name"], outcome["outcome"], outcome["detail"]) == ("score-order", "kept", "")
    assert outcome["sentence"] == "S scores, in the order of the candidates."


def test_a_promise_that_does_not_exist_and_a_server_that_does_not_are_named(dead_target, capsys):
    assert main(["conformance", "--target", dead_target, "--only", "score-ordr"]) == 2
    assert "no promise is named score-ordr" in capsys.readouterr().err
    assert main(["conformance", "--target", dead_target, "--timeout", "2"]) == 1
    assert dead_target in capsys.readouterr().err
