"""Planning sessions: the scene goes once, candidates stream. The blocking kind."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from worldforge_jepa_client.contract.types import Scene, ScoreResult
from worldforge_jepa_client.errors import CallCancelledError, DeadlineExceededError, UnavailableError
from worldforge_jepa_client.inputs.keywords import RequestKeywords
from worldforge_jepa_client.rpc.channel import deadline_after, remaining
from worldforge_jepa_client.rpc.operations import Steps
from worldforge_jepa_client.rpc.session_scene import SessionScene, goal_changes, observation_changes
from worldforge_jepa_client.rpc.stream_state import Exchange, Line, Request
from worldforge_jepa_client.wire.status import from_rpc_error

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


class PendingScore:
    """Scores that are on their way; see `Session.submit`."""

    def __init__(self, exchange: Exchange, request: Request, deadline: float) -> None:
        self._exchange, self._request, self._deadline = exchange, request, deadline

    def done(self) -> bool:
        """Whether `result` returns or raises at once."""
        done: bool = self._request.future.done()
        return done

    def result(self) -> ScoreResult:
        """Wait for the scores, until the deadline that `submit` was given.

        Raises:
            JepaError: the server refused the request, went away twice, or did not answer in time.
        """
        try:
            return self._outcome(remaining(self._deadline))
        except concurrent.futures.TimeoutError:
            self._exchange.give_up(self._request, too_late())
            return self._outcome(0)

    def cancel(self) -> None:
        """Give up; `result` raises CallCancelledError. Requests behind this one are sent again."""
        self._exchange.give_up(self._request, CallCancelledError("the request was cancelled"))

    def _outcome(self, timeout: float) -> ScoreResult:
        result: ScoreResult = self._request.future.result(timeout)
        return result


class Session:
    """Scores candidates over one stream, in a scene that is sent once; see `Client.session`. Thread-safe.

    Changes of the scene travel with the candidates that come next. A request that the server refuses raises, and the
    session goes on. If the server goes away, a new stream takes over with the scene and the requests that are owed an
    answer, each sent again once; if it cannot be reached they raise at once. A request that runs out of time ends the
    stream, since answers come in order, and frees the device; the next one opens a new stream.
    """

    def __init__(
        self,
        scene: SessionScene,
        run: Callable[[Steps[Any], float], Any],
        open_stream: Callable[[Any], Any],
        *,
        target: str,
        timeout: float,
    ) -> None:
        self._scene, self._run, self._timeout = scene, run, timeout
        self._exchange = Exchange(partial(_open_line, open_stream, target), threading.RLock())
        # A session that is dropped without being closed leaves no stream behind.
        self._finalizer = weakref.finalize(self, self._exchange.close)

    @property
    def reconnects(self) -> int:
        """How often a new stream has taken over from one that ended."""
        return self._exchange.reconnects

    def score(
        self, action_candidates: object, *, timeout: float | None = None, **overrides: Unpack[RequestKeywords]
    ) -> ScoreResult:
        """Score candidates (1, S, H, A) in the session's scene; lower is nearer the goal.

        Args:
            action_candidates: (1, S, H, A), or (S, H, A).
            timeout: seconds until the answer; the session's by default.
            **overrides: see `RequestKeywords`; what is left out is as the session was told.

        Raises:
            JepaError: one of the subclasses in `errors`.
        """
        return self.submit(action_candidates, timeout=timeout, **overrides).result()

    def submit(
        self, action_candidates: object, *, timeout: float | None = None, **overrides: Unpack[RequestKeywords]
    ) -> PendingScore:
        """Send candidates without waiting for their scores; arguments as for `score`.

        The server answers in the order of submission. Where many requests are in flight this waits for the oldest.
        """
        deadline = self._deadline(timeout)
        call = self._run(self._scene.call_steps(action_candidates, overrides), remaining(deadline))
        request = Request(call, concurrent.futures.Future())
        while (oldest := self._exchange.submit(request)) is not None:
            done, _ = concurrent.futures.wait([oldest], remaining(deadline))
            if not done:
                raise too_late()
        return PendingScore(self._exchange, request, deadline)

    def observe(self, observation: object, action_history: object = None, *, timeout: float | None = None) -> None:
        """Replace the observation and the action history; checked now, sent with the next candidates.

        Args:
            observation: as in `Client.score`.
            action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
            timeout: seconds that asking for the model's spec may take, where the client does not have it.
        """
        self._change(observation_changes(observation, action_history), timeout)

    def set_goal(self, goal: object, *, timeout: float | None = None) -> None:
        """Replace the goal; checked now, sent with the next candidates. Arguments as for `observe`."""
        self._change(goal_changes(goal), timeout)

    def close(self) -> None:
        """End the stream; requests without an answer raise CallCancelledError."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _change(self, changes: Scene, timeout: float | None) -> None:
        self._run(self._scene.change_steps(changes), remaining(self._deadline(timeout)))

    def _deadline(self, timeout: float | None) -> float:
        return deadline_after(self._timeout if timeout is None else timeout)


def _open_line(open_stream: Callable[[Any], Any], target: str, exchange: Exchange) -> Line:
    outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
    responses = open_stream(iter(outgoing.get, None))

    def cancel() -> None:
        responses.cancel()
        outgoing.put(None)  # releases gRPC's thread, which waits for more to send

    line = Line(outgoing.put, cancel)
    threading.Thread(target=_read, args=(exchange, line, responses, target), name="session", daemon=True).start()
    return line


def _read(exchange: Exchange, line: Line, responses: Any, target: str) -> None:
    error: Any = UnavailableError(f"{target}: the server ended the stream")
    try:
        for response in responses:
            exchange.answer(line, response)
    except grpc.RpcError as broken:
        error = from_rpc_error(broken, target)
    finally:
        exchange.ended(line, error)


def too_late() -> DeadlineExceededError:
    """Return the error of a request that nobody answered in time."""
    return DeadlineExceededError("no answer within the request's time")
