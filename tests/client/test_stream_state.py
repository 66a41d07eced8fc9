"""The state of a session's stream, on fake streams: the messages sent, the requests in flight, and those sent again."""

from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.fake_streams import FIRST, FULL, GONE, FakeServer, FakeStreams, marked
from tests.support.calls import call, observation
from worldforge_jepa_client.contract.types import Scene
from worldforge_jepa_client.errors import (
    CallCancelledError,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    ResourceExhaustedError,
)
from worldforge_jepa_client.rpc.stream_state import MAX_IN_FLIGHT, Request


@pytest.fixture
def streams():
    return FakeStreams()


def failure(request):
    return request.future.exception(timeout=0)


def test_the_scene_goes_once_and_then_only_what_changes(streams):
    moved = FIRST.updated(Scene(observation=observation(2), action_history=np.zeros((1, 1, 4), np.float32)))
    for scene in (FIRST, FIRST, moved, moved, moved.updated(Scene(goal=observation()))):
        streams.ask(scene)
    assert streams.scenes() == [["observation", "goal"], [], ["observation", "action_history"], [], ["goal"]]


def test_answers_belong_to_requests_in_order(streams):
    first, second, third = (streams.ask() for _ in range(3))
    streams.answer()
    streams.answer(FULL)
    assert (first.future.done(), second.future.done(), third.future.done()) == (True, True, False)
    assert isinstance(failure(second), ResourceExhaustedError)
    streams.answer()
    assert third.future.result(0).scores.shape == (3,)


def test_a_request_behind_a_refused_scene_fails_too_and_the_next_sends_the_scene_whole(streams):
    streams.ask()
    moved = FIRST.updated(Scene(goal=observation()))
    refused, behind = streams.ask(moved), streams.ask(moved)
    streams.answer()
    streams.answer(FULL)
    after = streams.ask(moved)
    streams.answer()  # scores in the first scene, which was not asked for
    assert isinstance(failure(refused), ResourceExhaustedError)
    assert isinstance(failure(behind), ResourceExhaustedError)
    streams.answer()
    assert failure(after) is None
    assert streams.scenes() == [["observation", "goal"], ["goal"], [], ["observation", "goal"]]


def test_a_change_on_top_of_a_refused_change_fails_too(streams):
    streams.ask()
    moved = FIRST.updated(Scene(goal=observation()))
    both = moved.updated(Scene(observation=observation()))
    refused, on_top, behind = streams.ask(moved), streams.ask(both), streams.ask(both)
    for error in (None, FULL, None, None):
        streams.answer(error)
    assert all(isinstance(failure(request), ResourceExhaustedError) for request in (refused, on_top, behind))
    again = streams.ask(both)
    streams.answer()
    assert failure(again) is None
    assert streams.scenes()[-1] == ["observation", "goal"]


def test_a_scene_that_comes_back_while_its_changes_are_refused_is_not_taken_for_granted(streams):
    streams.ask()
    streams.answer()
    goal = FIRST.updated(Scene(goal=observation()))
    both = goal.updated(Scene(observation=observation()))
    requests = [streams.ask(each) for each in (goal, both, goal, FIRST, FIRST)]
    for error in (FULL, None, FULL, None, None):  # leaves the server with the observation of `both`
        streams.answer(error)
    assert all(isinstance(failure(request), ResourceExhaustedError) for request in requests)


def test_refused_candidates_leave_the_scene_as_it_was(streams):
    streams.ask()
    streams.ask()
    streams.answer()
    streams.answer(FULL)
    streams.ask()
    assert streams.scenes()[-1] == []


def test_after_a_break_requests_in_flight_are_sent_once_more_with_the_scene(streams):
    done, first, second = (streams.ask() for _ in range(3))
    streams.answer()
    streams.pipeline.ended(streams.opened[0], GONE)
    assert streams.scenes() == [["observation", "goal"], []]
    assert streams.pipeline.reconnects == 0
    streams.answer()
    streams.answer()
    assert streams.pipeline.reconnects == 1
    assert [failure(request) for request in (done, first, second)] == [None] * 3
    assert streams.cancelled == [streams.opened[0]]


def test_a_second_break_in_a_row_is_raised(streams):
    request = streams.ask()
    streams.pipeline.ended(streams.opened[0], GONE)
    streams.pipeline.ended(streams.opened[1], GONE)
    assert failure(request) is GONE
    assert len(streams.opened) == 2


@pytest.mark.parametrize("error", [DeadlineExceededError("late"), CallCancelledError("cancelled")])
def test_only_after_unavailable_are_requests_sent_again(streams, error):
    request = streams.ask()
    streams.pipeline.ended(streams.opened[0], error)
    assert failure(request) is error


def test_a_break_while_idle_costs_nothing_until_the_next_request(streams):
    streams.ask()
    streams.answer()
    streams.pipeline.ended(streams.opened[0], GONE)
    assert len(streams.opened) == 1
    streams.ask()
    assert streams.scenes() == [["observation", "goal"]]


def test_a_cancel_ends_the_stream_and_the_others_go_on_a_new_one(streams):
    late, other = streams.ask(), streams.ask()
    streams.pipeline.cancel(late, DeadlineExceededError("late"))
    assert streams.cancelled == [streams.opened[0]]
    assert isinstance(failure(late), DeadlineExceededError)
    streams.pipeline.ended(streams.opened[0], CallCancelledError("cancelled"))
    streams.answer()
    assert failure(other) is None


def test_a_cancel_of_an_answered_request_changes_nothing(streams):
    request = streams.ask()
    streams.answer()
    streams.pipeline.cancel(request, DeadlineExceededError("late"))
    assert failure(request) is None
    assert streams.cancelled == []


def test_a_request_beyond_the_in_flight_limit_waits_for_the_oldest(streams):
    requests = [streams.ask() for _ in range(MAX_IN_FLIGHT)]
    extra = Request(call(scene=FIRST), Future())
    assert streams.pipeline.submit(extra) is requests[0].future
    streams.answer()
    assert streams.pipeline.submit(extra) is None


def test_a_request_that_cannot_be_encoded_is_not_in_flight(streams):
    with pytest.raises(InvalidArgumentError):
        streams.pipeline.submit(Request(call(scene=FIRST, extra_info={"key": object()}), Future()))
    request = streams.ask()
    streams.answer()
    assert failure(request) is None
    assert streams.scenes() == [["observation", "goal"]]


def test_closing_fails_the_requests_in_flight_and_refuses_more(streams):
    request = streams.ask()
    streams.pipeline.close()
    assert failure(request).reason == "SESSION_CLOSED"
    assert streams.cancelled == [streams.opened[0]]
    with pytest.raises(CallCancelledError, match="closed"):
        streams.ask()


def test_an_oversize_request_fails_before_anything_is_sent(streams):
    good = streams.ask()
    with pytest.raises(ResourceExhaustedError, match="the limit is 10") as caught:
        streams.pipeline.submit(Request(call(scene=FIRST), Future(), max_bytes=10))
    assert caught.value.reason == "MESSAGE_TOO_LARGE"
    assert len(streams.sent[-1]) == 1
    streams.answer()
    assert failure(good) is None


def test_an_exception_while_resending_loses_no_request(streams):
    requests = [streams.ask() for _ in range(3)]
    opened = streams.pipeline._open_stream
    failing = [ValueError("the channel is closed"), CallCancelledError("closed")]

    def open_stream(pipeline):
        if failing:
            raise failing.pop()
        return opened(pipeline)

    streams.pipeline._open_stream = open_stream
    streams.pipeline.ended(streams.opened[0], GONE)
    streams.answer()
    assert [type(failure(request)) for request in requests] == [CallCancelledError, InternalError, type(None)]


ACTIONS = ["ask", "ask", "change", "change", "serve", "serve", "refuse", "refuse", "disappear", "cancel"]


@settings(deadline=None, max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9)), min_size=5, max_size=50))
def test_no_score_is_of_another_scene_in_any_order_of_events(actions):
    server, scenes, asked = FakeServer(), [Scene(marked(1), marked(2))], []
    for number, (action, chosen) in enumerate(actions, start=3):
        if action == "change":
            part = "observation" if chosen % 2 else "goal"
            scenes.append(scenes[-1].updated(Scene(**{part: marked(number)})))
        if action in ("ask", "change") and len(asked) < MAX_IN_FLIGHT:
            old = chosen % len(scenes) if action == "ask" and chosen > 5 else 0  # as a slow thread asks
            asked.append(server.ask(scenes[-1 - old]))
        elif action in ("serve", "refuse"):
            server.serve(refuse=action == "refuse")
        elif action == "disappear":
            server.disappear()
        elif action == "cancel" and asked:
            server.pipeline.cancel(asked[chosen % len(asked)], DeadlineExceededError("late"))
    for _ in asked:
        server.serve(refuse=False)
    for request in asked:
        assert request.future.done()
        if failure(request) is None:
            parts = (request.scene.observation, request.scene.goal)
            assert request.future.result(0).scores.tolist() == [part.proprio[0, 0, 0] for part in parts]
    final = server.ask(scenes[-1])
    server.serve(refuse=False)
    assert failure(final) is None  # the session is alive
