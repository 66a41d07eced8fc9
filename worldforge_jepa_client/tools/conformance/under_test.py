"""The server under test: raw stubs, and requests that fit its model.

Letters: S samples (candidates), H horizon, A packed action dim.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import numpy as np
from numpy.typing import NDArray

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import Observation, PlanCall, Scene, ScoreCall, UnrollCall
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.inputs.synthetic import scene_of, synthetic_arrays
from worldforge_jepa_client.planning import PlannerOptions
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc
from worldforge_jepa_client.wire.status import from_message, from_rpc_error

_SAMPLES, _HORIZON = 4, 3


class BrokenPromiseError(Exception):
    """The server does not keep a promise; the message has what came and what was expected."""


class NotApplicableError(Exception):
    """A promise that this server gives no occasion to keep; the message has the reason."""


def expect(kept: object, problem: str) -> None:
    """Raise BrokenPromiseError with `problem` unless `kept`."""
    if not kept:
        raise BrokenPromiseError(problem)


def close(got: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Return True if two sets of scores are equal but for the rounding of another batch."""
    return got.shape == expected.shape and np.allclose(got, expected, rtol=1e-4, atol=1e-5)


class ServerUnderTest:
    """One model of a server, past the client and its checks.

    Attributes:
        channel: to the server.
        spec: of the model, as the server publishes it.
        others: the names of the other models that it serves.
        timeout: seconds that one call may take.
    """

    def __init__(self, channel: grpc.aio.Channel, spec: ModelSpec, others: list[str], timeout: float) -> None:
        self.channel, self.spec, self.others, self.timeout = channel, spec, others, timeout
        self._stub = jepa_pb2_grpc.WorldModelServiceStub(channel)
        self.samples = min(_SAMPLES, spec.limits.max_samples)
        self.horizon = min(_HORIZON, spec.limits.max_horizon)

    def begin(self, method: str, *request: Any, timeout: float = 0.0) -> Any:
        """Begin a call, which may take `timeout` or else the server's own."""
        return getattr(self._stub, method)(*request, timeout=timeout or self.timeout)

    async def call(self, method: str, request: Any) -> Any:
        """Return a unary call's response, or all those of a stream."""
        call = self.begin(method, request)
        return [each async for each in call] if isinstance(call, grpc.aio.UnaryStreamCall) else await call

    async def refused(self, method: str, request: Any, code: str, reason: str, field: str = "") -> JepaError:
        """Return the error of a call that must fail with this code, reason and field."""
        try:
            await self.call(method, request)
        except grpc.RpcError as error:
            refusal = from_rpc_error(error, "server")
        else:
            raise BrokenPromiseError(f"{method} succeeded; expected {code}, {reason}")
        return same_error(refusal, code, reason, field)

    async def score(self, request: Any) -> NDArray[np.float32]:
        """Return the scores [S] of a ScoreRequest."""
        return np.array((await self.call("Score", request)).scores, np.float32)

    async def context(self) -> str:
        """Return the id of a context with the scene of seed 0."""
        created = await self.call("CreateContext", wire.context_request(self.scene(), self.spec.name))
        return str(created.context_id)

    async def early_headers(self, method: str, request: Any) -> None:
        """Expect a stream's headers well before its first response, which takes the model some time."""
        began = time.perf_counter()
        call = self.begin(method, request)
        await call.initial_metadata()
        headers = time.perf_counter() - began
        await call.read()
        first = time.perf_counter() - began
        call.cancel()
        expect(headers < first / 2, f"the headers came after {headers:.4f} s, the first response after {first:.4f} s")

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Stream]:
        """Open a ScoreStream; cancel it at the end."""
        call = self.begin("ScoreStream")
        try:
            yield Stream(call)
        finally:
            call.cancel()

    def scene(self, seed: int = 0) -> Scene:
        """Return a scene of noise, with as many frames as the model looks back on."""
        return scene_of(synthetic_arrays(self.spec, samples=1, horizon=1, seed=seed))

    def one_frame(self) -> Scene:
        """Return the scene of seed 0 with its last frame alone, and so without an action history."""
        observation, goal = self.scene().observation, self.scene().goal
        assert observation is not None
        proprio = None if observation.proprio is None else observation.proprio[:, -1:]
        return Scene(Observation(observation.visual[:, -1:], proprio), goal)

    def candidates(self, samples: int = 0, horizon: int = 0, seed: int = 0) -> NDArray[np.float32]:
        """Return normalized candidates of noise (1, S, H, A)."""
        size = (1, samples or self.samples, horizon or self.horizon, self.spec.action_dim)
        return np.random.default_rng(seed).standard_normal(size, np.float32)

    def score_request(self, scene: Scene | str | None = None, **changes: Any) -> jepa_pb2.ScoreRequest:
        """Return a ScoreRequest for the candidates of seed 0 in the scene of seed 0; `changes` are a ScoreCall's."""
        fields: dict[str, Any] = {"action_candidates": self.candidates(), "model": self.spec.name} | changes
        return wire.score_request(ScoreCall(self.scene() if scene is None else scene, **fields))

    def plan_request(self, *, horizon: int = 0, samples: int = 16, iterations: int = 3, **options: Any) -> Any:
        """Return a PlanRequest by CEM in the scene of one frame, with seed 7."""
        planner = PlannerOptions(
            horizon=horizon or self.horizon, samples=samples, iterations=iterations, elites=4, **options
        )
        return wire.plan_request(PlanCall(self.one_frame(), planner=planner, seed=7, model=self.spec.name))

    def unroll_request(self, **changes: Any) -> Any:
        """Return an UnrollRequest in the scene of seed 0; `changes` are an UnrollCall's."""
        self.needs_latents()
        fields: dict[str, Any] = {"action_candidates": self.candidates(), "model": self.spec.name} | changes
        return wire.unroll_request(UnrollCall(self.scene(), **fields))

    def needs_latents(self) -> None:
        """Raise NotApplicableError where the model has a scoring method of its own, and so no latents."""
        if self.spec.reads_extra_info:
            raise NotApplicableError("the model has a scoring method of its own, and no latents")


class Stream:
    """A ScoreStream, message by message."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, request: jepa_pb2.ScoreStreamRequest) -> None:
        """Send one message."""
        await self.call.write(request)

    async def receive(self) -> jepa_pb2.ScoreStreamResponse:
        """Return the next answer."""
        response = await self.call.read()
        expect(response is not grpc.aio.EOF, "the stream ended; expected an answer")
        answer: jepa_pb2.ScoreStreamResponse = response
        return answer

    async def scores(self, request: jepa_pb2.ScoreStreamRequest) -> NDArray[np.float32]:
        """Send one message; return its scores [S]."""
        await self.send(request)
        return scores_of(await self.receive())


def scores_of(answer: jepa_pb2.ScoreStreamResponse) -> NDArray[np.float32]:
    """Return the scores [S] of a stream's answer."""
    kind = answer.WhichOneof("result")
    expect(kind == "score", f"the answer is {kind or 'empty'} {answer.error.message}; expected scores")
    return np.array(answer.score.scores, np.float32)


def refusal_in(answer: jepa_pb2.ScoreStreamResponse, code: str, reason: str, field: str) -> JepaError:
    """Return the error that a stream's answer must hold."""
    kind = answer.WhichOneof("result")
    expect(kind == "error", f"the answer is {kind or 'empty'}; expected an Error, {reason}")
    return same_error(from_message(answer.error), code, reason, field)


def same_error(error: JepaError, code: str, reason: str, field: str) -> JepaError:
    """Return an error if its code, reason and field are these."""
    got = (error.code.name, error.reason, error.field)
    expect(got == (code, reason, field), f"got {' '.join(got)}: {error}; expected {code} {reason} {field}")
    return error
