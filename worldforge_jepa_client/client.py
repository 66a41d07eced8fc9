"""Client and AsyncClient: one set of steps, two ways to wait."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio

from worldforge_jepa_client.calls import ScoreResult
from worldforge_jepa_client.errors import UnavailableError, from_rpc_error
from worldforge_jepa_client.spec import ModelSpec
from worldforge_jepa_client.steps import ScoreKeywords, Steps, build_score_call, model_steps, models_steps, score_steps
from worldforge_jepa_client.v1 import jepa_pb2_grpc

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

DEFAULT_TARGET = "127.0.0.1:50051"

_CHANNEL_OPTIONS = (
    # Requests are held against the server's published limit; a response is as large as its request asked for.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A robot cannot wait out gRPC's usual back-off, which grows to two minutes, after a server restart.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Channels with equal options would share one connection, and its back-off.
    ("grpc.use_local_subchannel_pool", 1),
)
_READY_POLL_SECONDS = 0.05

_R = TypeVar("_R")


class Client:
    """Scores candidates on a worldforge-jepa server. Thread-safe; every call has a deadline.

    Args:
        target: "host:port" or "unix:/path".
        timeout: seconds a call may take, unless the call says otherwise.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout: float = 10.0) -> None:
        self.target, self.timeout = target, timeout
        self._specs: dict[str, ModelSpec] = {}
        self._channel = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._stub = jepa_pb2_grpc.WorldModelServiceStub(self._channel)

    def score(
        self,
        *,
        observation: object,
        goal: object,
        action_candidates: object,
        timeout: float | None = None,
        **keywords: Unpack[ScoreKeywords],
    ) -> ScoreResult:
        """Score candidates in one scene; lower is nearer the goal.

        Args:
            observation: {"visual", "proprio"} or a bare visual array: visual (1, T, 3, height, width) in 0..255,
                proprio (1, T, P) raw; leading axes of size 1 may be left out.
            goal: likewise; of several frames the last counts.
            action_candidates: (1, S, H, A), or (S, H, A).
            timeout: seconds for the whole call.
            **keywords: see `ScoreKeywords`.

        Raises:
            JepaError: one of the subclasses in `errors`. Input is checked against the model's spec before it is sent.
        """
        call = build_score_call(observation, goal, action_candidates, keywords)
        return self._run(score_steps(call, self._specs), timeout)

    def model(self, name: str = "", *, timeout: float | None = None) -> ModelSpec:
        """Return a served model's contract; an empty name is the server's default model."""
        return self._run(model_steps(name), timeout)

    def models(self, *, timeout: float | None = None) -> list[ModelSpec]:
        """Return the contracts of all served models, the default one first."""
        return self._run(models_steps(), timeout)

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Return once the server answers with its models loaded.

        Raises:
            UnavailableError, DeadlineExceededError: it did not within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.models(timeout=_remaining(deadline))
                return
            except UnavailableError:
                if not _remaining(deadline):
                    raise
                time.sleep(_READY_POLL_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, steps: Steps[_R], timeout: float | None) -> _R:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        response = None
        while True:
            try:
                method, request = steps.send(response)
            except StopIteration as stop:
                result: _R = stop.value
                return result
            try:
                response = getattr(self._stub, method)(request, timeout=_remaining(deadline))
            except grpc.RpcError as error:
                raise from_rpc_error(error, self.target) from None


class AsyncClient:
    """`Client` for asyncio: the same methods and arguments, awaited."""

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout: float = 10.0) -> None:
        self.target, self.timeout = target, timeout
        self._specs: dict[str, ModelSpec] = {}
        self._channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._stub = jepa_pb2_grpc.WorldModelServiceStub(self._channel)

    async def score(
        self,
        *,
        observation: object,
        goal: object,
        action_candidates: object,
        timeout: float | None = None,
        **keywords: Unpack[ScoreKeywords],
    ) -> ScoreResult:
        """See `Client.score`."""
        call = build_score_call(observation, goal, action_candidates, keywords)
        return await self._run(score_steps(call, self._specs), timeout)

    async def model(self, name: str = "", *, timeout: float | None = None) -> ModelSpec:
        """See `Client.model`."""
        return await self._run(model_steps(name), timeout)

    async def models(self, *, timeout: float | None = None) -> list[ModelSpec]:
        """See `Client.models`."""
        return await self._run(models_steps(), timeout)

    async def wait_ready(self, timeout: float = 30.0) -> None:
        """See `Client.wait_ready`."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                await self.models(timeout=_remaining(deadline))
                return
            except UnavailableError:
                if not _remaining(deadline):
                    raise
                await asyncio.sleep(_READY_POLL_SECONDS)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Steps[_R], timeout: float | None) -> _R:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        response = None
        while True:
            try:
                method, request = steps.send(response)
            except StopIteration as stop:
                result: _R = stop.value
                return result
            try:
                response = await getattr(self._stub, method)(request, timeout=_remaining(deadline))
            except grpc.RpcError as error:
                raise from_rpc_error(error, self.target) from None


def _remaining(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
