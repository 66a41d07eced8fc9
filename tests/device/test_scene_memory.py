"""The WorldForge runtime keeps scenes on the server by itself: found by content, made again when they are gone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.support.scenes import candidates, scene
from worldforge_jepa_client.contract.types import Observation, Scene
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_client.provider.scene_memory import SEEN, UNSEEN, SceneMemory, scene_digest

CANDIDATES = candidates()


def info(start=(12.0, 32.0), goal=(24.0, 32.0)):
    parts = scene(start, goal)
    return {
        "observation": parts["observation"]["visual"],
        "observation_proprio": parts["observation"]["proprio"],
        "goal": parts["goal"]["visual"],
        "goal_proprio": parts["goal"]["proprio"],
        "actions_are_normalized": False,
    }


@pytest.fixture
def sent(runtime, monkeypatch):
    """The scene of each score request: "whole", or the context's id."""
    asked, score = [], runtime.client.score

    def recording(**keywords):
        asked.append(keywords.get("context", "whole"))
        return score(**keywords)

    monkeypatch.setattr(runtime.client, "score", recording)
    return asked


def scores(runtime, scene_info, candidates=CANDIDATES):
    payload = runtime.score_actions(model_path="label", info=scene_info, action_candidates=candidates)
    assert "error" not in payload, payload
    return payload["scores"]


def test_a_scene_goes_whole_once_and_is_kept_from_the_second_time_on(runtime, sent):
    first = scores(runtime, info())
    assert runtime.contexts_created == 0
    for _ in range(3):
        assert scores(runtime, info()) == first  # equal arrays, other objects
    assert runtime.contexts_created == 1
    assert sent[0] == "whole"
    assert len(set(sent[1:])) == 1 != sent.count("whole") - 1
    assert scores(runtime, info() | {"objective": "l1"}) != first
    assert runtime.contexts_created == 1


def test_arrays_changed_in_place_are_another_scene(runtime, sent):
    mine = info()
    for _ in range(2):
        before = scores(runtime, mine)
    mine["observation"][:] = info(start=(40.0, 12.0))["observation"]
    mine["observation_proprio"][:] = (40.0, 12.0)
    changed = scores(runtime, mine)
    assert changed != before
    assert changed == scores(runtime, info(start=(40.0, 12.0)))
    assert sent[2] == "whole"
    assert scores(runtime, info()) == before


def test_a_context_that_is_gone_is_made_again(runtime, sent):
    before = [scores(runtime, info()) for _ in range(2)][-1]
    runtime.client.delete_context(sent[-1])
    assert scores(runtime, info()) == before
    assert runtime.contexts_created == 2
    assert scores(runtime, info()) == before
    assert runtime.contexts_created == 2


def test_a_restarted_server_is_sent_the_scene_again(start_server):
    first = start_server()
    with GrpcRuntime(first.target, timeout=60) as runtime:
        before = [scores(runtime, info()) for _ in range(2)][-1]
        first.kill()
        gone = runtime.score_actions(model_path="label", info=info(), action_candidates=CANDIDATES)
        assert gone["error"]["type"] == "unavailable"
        start_server(listen=first.target)
        runtime.client.wait_ready(60)
        assert scores(runtime, info()) == before
        assert runtime.contexts_created == 2


def test_errors_of_a_kept_scene_are_those_of_one_sent_whole(runtime):
    wrong = (
        ({}, CANDIDATES[..., :9]),
        ({"proprio_weight": -1.0}, CANDIDATES),
        ({"objective": "l7"}, CANDIDATES),
    )

    def payloads():
        return [
            runtime.score_actions(model_path="label", info=info() | change, action_candidates=candidates)
            for change, candidates in wrong
        ]

    whole = payloads()
    assert runtime.contexts_created == 0
    for _ in range(2):
        scores(runtime, info())
    assert payloads() == whole
    assert [payload["error"]["message"].partition(":")[0] for payload in whole] == [
        "action_candidates",
        "info.proprio_weight",
        "info.objective",
    ]


def test_threads_with_scenes_of_their_own_never_mix(runtime):
    starts = [(10.0 + 3 * index, 20.0) for index in range(6)]
    expected = {start: scores(runtime, info(start)) for start in starts}
    assert len({tuple(found) for found in expected.values()}) == len(starts)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda start: (start, scores(runtime, info(start))), starts * 8))
    assert all(expected[start] == got for start, got in found)
    assert len(starts) <= runtime.contexts_created <= 8 * len(starts)


def test_only_the_last_scenes_are_remembered():
    memory = SceneMemory(2)
    memory.remember(b"a")
    memory.remember(b"b", "id")
    assert (memory.context(b"a"), memory.context(b"b"), memory.context(b"c")) == (SEEN, "id", UNSEEN)
    memory.context(b"a")
    memory.remember(b"c")
    assert (memory.context(b"a"), memory.context(b"b"), memory.context(b"c")) == (SEEN, UNSEEN, SEEN)


def test_a_digest_tells_scenes_apart_by_content_alone():
    frame, proprio = np.zeros((1, 1, 3, 2, 2), np.uint8), np.zeros((1, 1, 2), np.float32)
    base = Scene(Observation(frame, proprio), Observation(frame, proprio))
    others = [
        Scene(Observation(frame + 1, proprio), base.goal),
        Scene(base.observation, Observation(frame, proprio + 1)),
        Scene(base.observation, Observation(frame)),
        Scene(Observation(frame), base.goal),
        Scene(Observation(frame.astype(np.float32), proprio), base.goal),
        Scene(Observation(frame.reshape(1, 1, 3, 4, 1), proprio), base.goal),
        Scene(base.observation, base.goal, np.zeros((1, 1, 2), np.float32)),
    ]
    digests = {scene_digest(each) for each in (base, *others)}
    assert len(digests) == len(others) + 1
    strided = np.zeros((1, 1, 3, 2, 4), np.uint8)[..., ::2]
    assert scene_digest(Scene(Observation(strided, proprio.copy()), base.goal)) == scene_digest(base)
