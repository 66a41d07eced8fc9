"""Streams of paper, which only write down what a session sends, and a server that answers on them."""

import contextlib
from concurrent.futures import Future

import numpy as np

from tests.calls import call, observation
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Scene, ScoreResult, Timing
from worldforge_jepa_client.errors import ResourceExhaustedError, UnavailableError
from worldforge_jepa_client.rpc.stream_state import Exchange, Line, Request
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire.status import to_message

FIRST = Scene(observation(), observation())
GONE = UnavailableError("gone")
FULL = ResourceExhaustedError("full")


class Streams:
    """Opens streams that only write down what was sent."""

    def __init__(self):
        self.lines, self.sent, self.cancelled = [], [], []
        self.exchange = Exchange(self.open, contextlib.nullcontext())

    def open(self, exchange):
        assert exchange is self.exchange
        sent = []
        self.sent.append(sent)
        line = Line(sent.append, lambda: self.cancelled.append(line))
        self.lines.append(line)
        return line

    def ask(self, scene=FIRST):
        request = Request(call(scene=scene), Future())
        assert self.exchange.submit(request) is None
        return request

    def answer(self, error=None, line=-1):
        if error:
            response = jepa_pb2.ScoreStreamResponse(error=to_message(error))
        else:
            result = ScoreResult(np.ones(3, np.float32), 0, True, {}, Timing())
            response = jepa_pb2.ScoreStreamResponse(score=wire.score_response(result))
        self.exchange.answer(self.lines[line], response)

    def scenes(self):
        """The parts of the scene in each message of the newest stream."""
        return [[field.name for field, _ in message.context.ListFields()] for message in self.sent[-1]]


def marked(mark):
    """An observation that tells by its proprio which one it is."""
    seen = observation()
    seen.proprio[:] = mark
    return seen


def marks(observation_message):
    return float(np.frombuffer(observation_message.proprio.data, np.float32)[0])


class PaperServer(Streams):
    """Answers with the marks of the scene it has; refuses and disappears when told to."""

    def open(self, exchange):
        self.held, self.read = None, 0
        return super().open(exchange)

    def serve(self, refuse):
        if self.lines and self.read < len(self.sent[-1]):
            context = self.sent[-1][self.read].context
            self.read += 1
            changed = {
                name: marks(getattr(context, name)) for name in ("observation", "goal") if context.HasField(name)
            }
            if refuse or (self.held is None and len(changed) < 2):
                self.answer(FULL)
                return
            self.held = (self.held or {}) | changed
            scores = np.array([self.held["observation"], self.held["goal"]], np.float32)
            response = wire.score_response(ScoreResult(scores, 0, True, {}, Timing()))
            self.exchange.answer(self.lines[-1], jepa_pb2.ScoreStreamResponse(score=response))

    def disappear(self):
        if self.lines:
            self.exchange.ended(self.lines[-1], GONE)
