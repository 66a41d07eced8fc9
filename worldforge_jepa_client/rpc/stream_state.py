"""The state of a session's stream, without I/O: requests in flight, the server's scene, and recovery from a break.

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
from worldforge_jepa_client.errors import (
    CallCancelledError,
    InternalError,
    JepaError,
    ResourceExhaustedError,
    UnavailableError,
)
from worldforge_jepa_client.reasons import Reason

MAX_IN_FLIGHT = 32
"""The requests of one session that may be in flight; more wait before they are sent."""


@dataclass(eq=False)
class Request:
    """Candidates to score in a whole scene; the `future`, of either kind, gets the result or the error."""

    call: ScoreCall
    future: Any
    max_bytes: int = 0
    """The largest message that the server takes; 0 is no limit."""
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


class OpenStream:
    """One stream: its requests in order, and the scene that the server has.

    Scenes are compared by identity: each change makes a new one. A refused request leaves the server's scene as it was,
    so an answer counts only if the server had the scene that its request was built on.

    Args:
        send: sends one ScoreStreamRequest, without blocking.
        cancel: ends the stream; may be called again.
    """

    def __init__(self, send: Callable[[Any], None], cancel: Callable[[], object]) -> None:
        self._send, self.cancel = send, cancel
        self.in_flight: deque[Request] = deque()
        self.answered = 0
        self._sent: Scene | None = None  # the server's scene once it has taken all that was sent; None: send it whole
        self._held: Scene | None = None  # the server's scene after the last answer; None: unknown
        self._refusal: JepaError | None = None

    def put(self, request: Request) -> None:
        """Send a request with its changes of the scene; where this raises, nothing was sent.

        Raises:
            InvalidArgumentError: it cannot be encoded.
            ResourceExhaustedError: it is larger than the server takes, which would end the whole stream.
        """
        call = request.call
        changes = _changes(self._sent, request.scene)
        message = wire.stream_request(
            changes,
            call.action_candidates,
            model=call.model,
            options=call.options,
            extra_info=call.extra_info,
        )
        if changes or call.extra_info or call.action_candidates.nbytes > request.max_bytes // 2:
            _check_size(message.ByteSize(), request.max_bytes)  # which costs a copy
        request.base, self._sent = self._sent, request.scene
        self.in_flight.append(request)
        self._send(message)

    def answer(self, response: Any) -> None:
        """Settle the oldest request."""
        request = self.in_flight.popleft()
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


class RequestPipeline:
    """Sends requests over one stream at a time and replaces a stream that ends.

    Args:
        open_stream: opens a stream that reports to this pipeline.
        lock: held around the bookkeeping, if several threads share it; re-entrant.
    """

    def __init__(self, open_stream: Callable[[RequestPipeline], OpenStream], lock: AbstractContextManager[Any]) -> None:
        self._open_stream = open_stream
        self._lock = lock
        self._stream: OpenStream | None = None
        self._streams_answered = 0
        self._closed = False

    @property
    def reconnects(self) -> int:
        """The number of new streams that took over from one that ended."""
        return max(0, self._streams_answered - 1)

    def check_open(self) -> None:
        """Raise CallCancelledError where the session is closed."""
        if self._closed:
            raise CallCancelledError("the session is closed", reason=Reason.SESSION_CLOSED)

    def submit(self, request: Request) -> Any | None:
        """Send a request and return None; where too many are in flight, return the future to wait for first."""
        with self._lock:
            self.check_open()
            stream = self._current()
            if len(stream.in_flight) >= MAX_IN_FLIGHT:
                return stream.in_flight[0].future
            stream.put(request)
            return None

    def answer(self, stream: OpenStream, response: Any) -> None:
        """Settle a stream's oldest request with a response."""
        with self._lock:
            if stream.in_flight:
                self._streams_answered += stream.answered == 0
                stream.answer(response)

    def ended(self, stream: OpenStream, error: JepaError) -> None:
        """Replace a stream that has ended; if the server went away, its requests are sent again, each only once."""
        with self._lock:
            again = [request for request in self._take(stream) if not self._lost(request, error)]
            self._resend(again)

    def cancel(self, request: Request, error: JepaError) -> None:
        """Settle a request with an error, and free the device from it.

        Answers come in order, so its stream ends; the other requests in flight go out on a new one.
        """
        with self._lock:
            request.settle(error)
            stream = self._stream
            if stream is not None and request in stream.in_flight:
                self._resend([other for other in self._take(stream) if other is not request])

    def close(self) -> None:
        """End the stream; requests without an answer fail."""
        with self._lock:
            self._closed = True
            for request in self._take(self._stream) if self._stream else ():
                request.settle(CallCancelledError("the session was closed", reason=Reason.SESSION_CLOSED))

    def _current(self) -> OpenStream:
        if self._stream is None:
            self._stream = self._open_stream(self)
        return self._stream

    def _take(self, stream: OpenStream) -> list[Request]:
        """End a stream; return the requests that were in flight on it."""
        if self._stream is stream:
            self._stream = None
        stream.cancel()
        in_flight = list(stream.in_flight)
        stream.in_flight.clear()
        return in_flight

    def _lost(self, request: Request, error: JepaError) -> bool:
        # Internal is what grpc.aio calls a write to a connection that is gone.
        if isinstance(error, (UnavailableError, InternalError)) and not request.retried and not self._closed:
            request.retried = True
            return False
        request.settle(error)
        return True

    def _resend(self, requests: list[Request]) -> None:
        for request in requests:
            try:
                self._current().put(request)
            except JepaError as error:  # of this request, which with the whole scene may be too large
                request.settle(error)
            except Exception as error:  # the stream cannot be opened; no request may be left without an outcome
                request.settle(InternalError(f"the request could not be sent again: {error}"))


def _check_size(size: int, limit: int) -> None:
    if limit and size > limit:
        raise ResourceExhaustedError(
            f"the request has {size} bytes; the limit is {limit}", reason=Reason.MESSAGE_TOO_LARGE
        )


def _changes(base: Scene | None, scene: Scene) -> Scene | None:
    """Return the changes that turn one scene into another; None for none."""
    if base is None:
        return scene
    if base is scene:
        return None
    return Scene(
        observation=None if scene.observation is base.observation else scene.observation,
        goal=None if scene.goal is base.goal else scene.goal,
        action_history=None if scene.observation is base.observation else scene.action_history,
    )
