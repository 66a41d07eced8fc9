# Made from worldforge_jepa_client/rpc/aio/session.py by scripts/async_to_sync.py.
"""Planning sessions: the scene is sent once, candidates stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_client.contract.types import ScoreResult
from worldforge_jepa_client.errors import CallCancelledError
from worldforge_jepa_client.rpc.channel import deadline_after, remaining
from worldforge_jepa_client.rpc.failures import too_late
from worldforge_jepa_client.rpc.operations import Operation
from worldforge_jepa_client.rpc.session_scene import SessionScene, goal_changes, observation_changes
from worldforge_jepa_client.rpc.stream_state import Request, RequestPipeline
from worldforge_jepa_client.rpc.sync.connection import (
    Connection,
    Lock,
    Streams,
    close_when_dropped,
    new_future,
    wait_done,
)

if TYPE_CHECKING:
    from typing_extensions import Self


class PendingScore:
    """Scores that are on their way; see `Session.submit`."""

    def __init__(self, pipeline: RequestPipeline, request: Request, deadline: float) -> None:
        self._pipeline, self._request, self._deadline = pipeline, request, deadline

    def done(self) -> bool:
        """Return whether `result` returns or raises at once."""
        done: bool = self._request.future.done()
        return done

    def result(self) -> ScoreResult:
        """Wait for the scores, until the deadline that `submit` was given. An interrupted wait cancels the request.

        Raises:
            JepaError: the server refused the request, went away twice, or did not answer in time.
        """
        try:
            done = wait_done(self._request.future, remaining(self._deadline))
        except BaseException:
            self.cancel()
            raise
        if not done:
            self._pipeline.cancel(self._request, too_late())
        result: ScoreResult = self._request.future.result()
        return result

    def cancel(self) -> None:
        """Free the device from the request; `result` raises CallCancelledError. Requests behind it are sent again."""
        self._pipeline.cancel(self._request, CallCancelledError("the request was cancelled"))


class Session:
    """Scores candidates over one stream, in a scene that is sent once; see `Client.session`.

    The scene is checked when the session is entered, or else with its first request. Changes of the scene travel with
    the candidates that come next. A request that the server refuses raises, and the session goes on. If the server
    goes away, a new stream takes over with the scene and the requests in flight, each sent again once; if it cannot be
    reached they raise at once. A request that runs out of time ends the stream, since answers come in order, and frees
    the device; the next one opens a new stream.
    """

    def __init__(
        self,
        scene: SessionScene,
        connection: Connection,
        run: Callable[[Operation[Any], float], Any],
        timeout: float,
    ) -> None:
        self._scene, self._connection, self._run, self._timeout = scene, connection, run, timeout
        self._streams = Streams(connection)
        self._pipeline = RequestPipeline(self._streams.open, Lock())
        # A session that is dropped without being closed leaves no stream behind.
        self._close = close_when_dropped(self, self._pipeline.close)

    @property
    def reconnects(self) -> int:
        """The number of new streams that took over from one that ended."""
        return self._pipeline.reconnects

    def score(
        self,
        action_candidates: object,
        *,
        objective: Objective | str | None = None,
        proprio_weight: float | None = None,
        actions_are_normalized: bool | None = None,
        extra_info: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> ScoreResult:
        """Score candidates in the session's scene; lower is nearer the goal.

        Args:
            action_candidates: (1, S, H, A), or (S, H, A).
            objective: as in `Client.score`; None is the session's.
            proprio_weight: likewise.
            actions_are_normalized: likewise.
            extra_info: likewise.
            timeout: seconds until the answer; None is the session's, inf none.

        Raises:
            JepaError: one of the subclasses in `errors`.
        """
        pending = self.submit(
            action_candidates,
            objective=objective,
            proprio_weight=proprio_weight,
            actions_are_normalized=actions_are_normalized,
            extra_info=extra_info,
            timeout=timeout,
        )
        return pending.result()

    def submit(
        self,
        action_candidates: object,
        *,
        objective: Objective | str | None = None,
        proprio_weight: float | None = None,
        actions_are_normalized: bool | None = None,
        extra_info: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> PendingScore:
        """Send candidates without waiting for their scores; arguments as for `score`.

        The server answers in the order of submission. Where many requests are in flight this waits for the oldest.
        """
        deadline = self._deadline(timeout)
        operation = self._scene.score_call(
            action_candidates,
            extra_info,
            objective=objective,
            proprio_weight=proprio_weight,
            actions_are_normalized=actions_are_normalized,
        )
        call = self._run(operation, deadline)
        request = Request(call, new_future(), self._scene.max_message_bytes)
        while (oldest := self._pipeline.submit(request)) is not None:
            if not wait_done(oldest, remaining(deadline)):
                raise too_late()
        return PendingScore(self._pipeline, request, deadline)

    def observe(self, observation: object, action_history: object = None, *, timeout: float | None = None) -> None:
        """Replace the observation and the action history; checked now, sent with the next candidates.

        Args:
            observation: as in `Client.score`.
            action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
            timeout: seconds that asking for the model's spec may take, where the client does not have it.
        """
        self._run(self._scene.change(observation_changes(observation, action_history)), self._deadline(timeout))

    def set_goal(self, goal: object, *, timeout: float | None = None) -> None:
        """Replace the goal; checked now, sent with the next candidates. Arguments as for `observe`."""
        self._run(self._scene.change(goal_changes(goal)), self._deadline(timeout))

    def close(self) -> None:
        """End the stream; requests without an answer raise CallCancelledError."""
        self._close()
        self._streams.join()

    def __enter__(self) -> Self:
        self._run(self._scene.check(), self._deadline(None))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _deadline(self, timeout: float | None) -> float:
        """Return the deadline of a call that begins now, if the session can be used."""
        self._connection.check()
        self._pipeline.check_open()
        return deadline_after(self._timeout if timeout is None else timeout)
