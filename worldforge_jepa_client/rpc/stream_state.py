"""A session without its stream: which requests are owed an answer, in which scene, and what happens when one breaks.

Session and AsyncSession drive this, each with its own streams and futures.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Scene, ScoreCall, ScoreResult
from worldforge_jepa_client.errors import CallCancelledError, InternalError, JepaError, UnavailableError
from worldforge_jepa_client.reasons import Reason

MAX_IN_FLIGHT = 32
"""Requests of one session that may await their answers; more have to wait before they are sent."""


@dataclass(eq=False)
class Request:
    """Candidates to score in a whole scene; the `future`, of either kind, gets the result or the error."""

    call: ScoreCall
    future: Any
    retried: bool = False
    base: Scene | None = None
    """The scene that the server has to have, for the changes that were sent to make it this request's."""

    @property
    def scene(self) -> Scene:
        """The scene to score in."""
        assert isinstance(self.call.scene, Scene)
        return self.call.scene

    def settle(self, outcome: ScoreResult | JepaError | None) -> None:
        """Give the future its outcome, unless it has one."""
        if self.future.done():
            return
        if isinstance(outcome, JepaError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Line:
    """One stream: its requests in order, and the scene that the server has.

    Scenes are compared by identity: each change makes a new one. What the server refuses changes nothing there, so an
    answer counts only if the server had the scene that its request was built on.

    Args:
        send: sends one ScoreStreamRequest, without blocking.
        cancel: ends the stream; may be called again.
    """

    def __init__(self, send: Callable[[Any], None], cancel: Callable[[], object]) -> None:
        self._send, self.cancel = send, cancel
        self.owed: deque[Request] = deque()
        self.answered = 0
        self._sent: Scene | None = None  # the server's scene once it has taken all that was sent; None: send it whole
        self._held: Scene | None = None  # the server's scene after the last answer; None: unknown
        self._refusal: JepaError | None = None

    def put(self, request: Request) -> None:
        """Send a request with what it changes in the scene.

        Raises:
            InvalidArgumentError: it cannot be encoded; nothing was sent.
        """
        call = request.call
        message = wire.stream_request(
            _changes(self._sent, request.scene),
            call.action_candidates,
            model=call.model,
            options=call.options,
            extra_info=call.extra_info,
        )
        request.base, self._sent = self._sent, request.scene
        self.owed.append(request)
        self._send(message)

    def answer(self, response: Any) -> None:
        """Settle the oldest request."""
        request = self.owed.popleft()
        self.answered += 1
        in_place = request.base is None or request.base is self._held
        try:
            outcome: ScoreResult | JepaError | None = wire.stream_result(response)
        except JepaError as error:
            outcome = self._refusal = error
        else:
            if in_place:
                self._held = request.scene
            else:
                outcome = self._refusal  # scored in another scene: the change before it was refused
                self._held = self._held if request.base is request.scene else None
        if isinstance(outcome, JepaError) and request.base is not request.scene:
            self._sent = None
        request.settle(outcome)


class Exchange:
    """Sends requests over one stream at a time and replaces a stream that ends.

    Args:
        open_line: opens a stream that reports to this exchange.
        lock: held around the bookkeeping, if several threads share it; re-entrant.
    """

    def __init__(self, open_line: Callable[[Exchange], Line], lock: AbstractContextManager[Any]) -> None:
        self._open_line = open_line
        self._lock = lock
        self._line: Line | None = None
        self._lines_answered = 0
        self._closed = False

    @property
    def reconnects(self) -> int:
        """How often a new stream has taken over from one that ended."""
        return max(0, self._lines_answered - 1)

    def submit(self, request: Request) -> Any | None:
        """Send a request; or return the future to wait for first, where too many are in flight."""
        with self._lock:
            if self._closed:
                raise CallCancelledError("the session is closed", reason=Reason.SESSION_CLOSED)
            line = self._current()
            if len(line.owed) >= MAX_IN_FLIGHT:
                return line.owed[0].future
            line.put(request)
            return None

    def answer(self, line: Line, response: Any) -> None:
        """A stream brought a response."""
        with self._lock:
            if line.owed:
                self._lines_answered += line.answered == 0
                line.answer(response)

    def ended(self, line: Line, error: JepaError) -> None:
        """A stream has ended; if the server went away, its requests go out on a new one, each only once."""
        with self._lock:
            again = [request for request in self._take(line) if not self._lost(request, error)]
            self._resend(again)

    def give_up(self, request: Request, error: JepaError) -> None:
        """Settle a request that nobody waits for any more.

        Answers come in order, so its stream has to go; the others that were on it go out on a new one.
        """
        with self._lock:
            request.settle(error)
            line = self._line
            if line is not None and request in line.owed:
                self._resend([other for other in self._take(line) if other is not request])

    def close(self) -> None:
        """End the stream; requests without an answer fail."""
        with self._lock:
            self._closed = True
            for request in self._take(self._line) if self._line else ():
                request.settle(CallCancelledError("the session was closed", reason=Reason.SESSION_CLOSED))

    def _current(self) -> Line:
        if self._line is None:
            self._line = self._open_line(self)
        return self._line

    def _take(self, line: Line) -> list[Request]:
        """End a line; return what it owed."""
        if self._line is line:
            self._line = None
        line.cancel()
        owed = list(line.owed)
        line.owed.clear()
        return owed

    def _lost(self, request: Request, error: JepaError) -> bool:
        # Internal is what grpc.aio calls a write to a connection that is gone.
        if isinstance(error, (UnavailableError, InternalError)) and not request.retried and not self._closed:
            request.retried = True
            return False
        request.settle(error)
        return True

    def _resend(self, requests: list[Request]) -> None:
        for request in requests:
            self._current().put(request)


def _changes(base: Scene | None, scene: Scene) -> Scene | None:
    """What turns one scene into another; None for nothing."""
    if base is None:
        return scene
    if base is scene:
        return None
    return Scene(
        observation=None if scene.observation is base.observation else scene.observation,
        goal=None if scene.goal is base.goal else scene.goal,
        action_history=None if scene.observation is base.observation else scene.action_history,
    )
