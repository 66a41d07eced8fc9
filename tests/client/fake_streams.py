"""Fake streams, which record the messages that a session sends, and a fake server that answers on them."""

import contextlib
from concurrent.futures import Future

import numpy as np

from tests.support.calls import call, observation
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.types import Scene, ScoreResult, Timing
from worldforge_jepa_client.errors import ResourceExhaustedError, UnavailableError
from worldforge_jepa_client.rpc.stream_state import OpenStream, Request, RequestPipeline
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire.status import to_message

FIRST = Scene(observation(), observation())
GONE = UnavailableError("gone")
FULL = ResourceExhaustedError("full")


class FakeStreams:
    """Opens streams that record the messages sent."""

    def __init__(self):
        self.opened, self.sent, self.cancelled = [], [], []
        self.pipeline = RequestPipeline(self.open, contextlib.nullcontext())

    def open(self, pipeline):
        assert pipeline is self.pipeline
        sent = []
        self.sent.append(sent)
        stream = OpenStream(sent.append, lambda: self.cancelled.append(stream))
        self.opened.append(stream)
        return stream

    def ask(self, scene=FIRST):
        request = Request(call(scene=scene), Future())
        assert self.pipeline.submit(request) is None
        return request

    def answer(self, error=None, stream=-1):
        if error:
            response = jepa_pb2.ScoreStreamResponse(error=to_message(error))
        else:
            result = ScoreResult(np.ones(3, np.float32), 0, True, {}, Timing())
            response = jepa_pb2.ScoreStreamResponse(score=wire.score_response(result))
        self.pipeline.answer(self.opened[stream], response)

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


class FakeServer(FakeStreams):
    """Answers with the marks of the scene it has; refuses and disappears when told to."""

    def open(self, pipeline):
        self.held, self.read = None, 0
        return super().open(pipeline)

    def serve(self, refuse):
        if self.opened and self.read < len(self.sent[-1]):
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
            self.pipeline.answer(self.opened[-1], jepa_pb2.ScoreStreamResponse(score=response))

    def disappear(self):
        if self.opened:
            self.pipeline.ended(self.opened[-1], GONE)
