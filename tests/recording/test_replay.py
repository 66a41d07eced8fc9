"""Calls recorded before a real server, and sent again."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys

import grpc.aio
import pytest

from tests.support.scenes import raw_candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.tools.cli import main
from worldforge_jepa_client.tools.recording.file import Writer, read
from worldforge_jepa_client.tools.recording.proxy import UNLIMITED, Proxy
from worldforge_jepa_client.v1 import jepa_pb2

SECONDS = 120


@contextlib.asynccontextmanager
async def recording(target, path):
    """A proxy in this process, as `worldforge-jepa record` has it; yields its address."""
    with Writer(path, 2**24) as writer:
        async with grpc.aio.insecure_channel(target, UNLIMITED) as channel:
            server = grpc.aio.server(handlers=(Proxy(channel, target, writer.add),), options=UNLIMITED)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            yield f"127.0.0.1:{port}"
            await server.stop(None)


def use_every_method(target):
    with Client(target, timeout=SECONDS) as client:
        client.models()
        client.score(**scene(), **raw_candidates())
        context = client.create_context(**scene())
        client.score(context=context, **raw_candidates(seed=1))
        list(client.unroll(context=context, **raw_candidates(), steps=[2], samples=[0]))
        client.plan(context=context, horizon=2, samples=8, iterations=2, elites=2).result()
        client.delete_context(context)
        client.encode(observation=scene()["observation"])
        with pytest.raises(JepaError):
            client.delete_context("no context")
        with client.session(**scene(), actions_are_normalized=False) as session:
            for seed in range(3):
                session.score(raw_candidates(seed=seed)["action_candidates"])


@pytest.fixture(scope="module")
def recorded(server, tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "calls.rec"

    async def record():
        async with recording(server.target, path) as target:
            await asyncio.wait_for(asyncio.to_thread(use_every_method, target), SECONDS)

    asyncio.run(record())
    return path


def replayed(path, server, capsys, *flags):
    """The exit code of a replay, and its calls that differ."""
    code = main(["replay", str(path), "--target", server.target, "--json", *flags])
    calls = json.loads(capsys.readouterr().out)["calls"]
    return code, calls


def rewritten(path, folder, change):
    """A copy of a recording, its calls changed in place."""
    copy = folder / "copy.rec"
    with Writer(copy, 2**24) as writer:
        for call in read(path):
            change(call)
            writer.add(call)
    return copy


def test_same_server_answers_the_same(recorded, server, capsys):
    code, calls = replayed(recorded, server, capsys)
    assert code == 0
    methods = [call["method"] for call in calls]
    assert set(methods) >= {"Score", "ScoreStream", "Plan", "Unroll", "Encode", "CreateContext", "DeleteContext"}
    assert methods.count("ScoreStream") == 3
    assert [call.reason for call in read(recorded) if call.reason] == ["CONTEXT_NOT_FOUND"]
    assert all(call["difference"]["relative"] == 0 for call in calls if call["method"] in ("Score", "Plan"))


def test_calls_go_to_another_model(recorded, server, capsys):
    code, calls = replayed(recorded, server, capsys, "--model", "other")
    assert code == 0
    assert all(call["difference"] for call in calls)


def swap_best(call):
    """Exchange the first two scores, which changes the ranks, and name another best candidate."""
    if call.method == "Score":
        answer = jepa_pb2.ScoreResponse.FromString(call.responses[0])
        answer.scores[0], answer.scores[1] = answer.scores[1], answer.scores[0]
        answer.best_index = (answer.best_index + 1) % len(answer.scores)
        call.responses[0] = answer.SerializeToString()


def other_reason(call):
    if call.reason:
        call.reason = "MODEL_NOT_FOUND"


def fewer_answers(call):
    if call.method == "Plan":
        del call.responses[-1]


@pytest.mark.parametrize(
    ("change", "said", "count"),
    [
        (swap_best, "another best candidate", 2),
        (other_reason, "was MODEL_NOT_FOUND, now CONTEXT_NOT_FOUND", 1),
        (fewer_answers, "1 messages were answered, now 2", 1),
    ],
)
def test_difference_is_named(recorded, server, capsys, tmp_path, change, said, count):
    copy = rewritten(recorded, tmp_path, change)
    assert main(["replay", str(copy), "--target", server.target]) == 2
    printed = capsys.readouterr().out
    assert printed.count(said) == count
    assert f"{count} of " in printed


@contextlib.contextmanager
def command(path, target):
    """`worldforge-jepa record` as a process; yields it and its address."""
    flags = ["record", str(path), "--target", target, "--listen", "127.0.0.1:0", "--timeout", str(SECONDS)]
    with subprocess.Popen(
        [sys.executable, "-m", "worldforge_jepa_client", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


def test_killed_recorder_leaves_whole_calls(server, tmp_path):
    path = tmp_path / "calls.rec"
    with command(path, server.target) as (process, target):
        with Client(target, timeout=SECONDS) as client:
            client.score(**scene(), **raw_candidates())
        process.send_signal(signal.SIGKILL)
        process.wait(SECONDS)
    assert [call.method for call in read(path)] == ["ListModels", "GetModel", "Score"]


def test_interrupt_ends_recording_with_a_count(server, tmp_path):
    with command(tmp_path / "calls.rec", server.target) as (process, _):
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert "recorded 1 calls" in printed
    assert errors == ""


def test_missing_server_is_one_line(dead_target, tmp_path, capsys):
    flags = ["--target", dead_target, "--listen", "127.0.0.1:0"]
    assert main(["record", str(tmp_path / "calls.rec"), *flags]) == 1
    assert "is a server running?" in capsys.readouterr().err
