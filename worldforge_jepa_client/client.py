"""Client and AsyncClient: one set of steps, two ways to wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import grpc
import grpc.aio

from worldforge_jepa_client import messages
from worldforge_jepa_client.arrays import as_array, as_observation
from worldforge_jepa_client.calls import ScoreCall, ScoreOptions, ScoreResult
from worldforge_jepa_client.checks import check_score_call
from worldforge_jepa_client.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    OutOfRangeError,
    UnavailableError,
    from_rpc_error,
)
from worldforge_jepa_client.spec import ModelSpec, Objective
from worldforge_jepa_client.v1 import jepa_pb2, jepa_pb2_grpc

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
_Steps = Generator[tuple[str, Any], Any, _R]
"""Yields (method name, request), is sent the response, returns the result."""


class ScoreKeywords(TypedDict, total=False):
    """The optional keywords of `score`.

    Attributes:
        action_history: the T-1 actions between T observation frames, (1, T-1, A) or (T-1, A).
        model: a served model's name; empty is the server's default.
        objective: "l2", "l1" or "cosine"; None is the model's default.
        proprio_weight: weight of the proprio features, >= 0; None is the model's default.
        actions_are_normalized: False has the server normalize candidates and history; True is the default.
        extra_info: JSON handed to models with a scoring method of their own.
    """

    action_history: object
    model: str
    objective: Objective | str | None
    proprio_weight: float | None
    actions_are_normalized: bool
    extra_info: Mapping[str, Any]


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
        return self._run(_score_steps(call, self._specs), timeout)

    def model(self, name: str = "", *, timeout: float | None = None) -> ModelSpec:
        """Return a served model's contract; an empty name is the server's default model."""
        return self._run(_model_steps(name), timeout)

    def models(self, *, timeout: float | None = None) -> list[ModelSpec]:
        """Return the contracts of all served models, the default one first."""
        return self._run(_models_steps(), timeout)

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

    def _run(self, steps: _Steps[_R], timeout: float | None) -> _R:
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
        return await self._run(_score_steps(call, self._specs), timeout)

    async def model(self, name: str = "", *, timeout: float | None = None) -> ModelSpec:
        """See `Client.model`."""
        return await self._run(_model_steps(name), timeout)

    async def models(self, *, timeout: float | None = None) -> list[ModelSpec]:
        """See `Client.models`."""
        return await self._run(_models_steps(), timeout)

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

    async def _run(self, steps: _Steps[_R], timeout: float | None) -> _R:
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


def build_score_call(
    observation: object, goal: object, action_candidates: object, keywords: ScoreKeywords
) -> ScoreCall:
    """Return the call that `Client.score`'s arguments describe.

    Raises:
        InvalidArgumentError: something is not an array, or not what its field takes.
    """
    history = keywords.get("action_history")
    weight, normalized = keywords.get("proprio_weight"), keywords.get("actions_are_normalized", True)
    if not isinstance(normalized, bool):
        raise InvalidArgumentError(
            f"is {normalized!r}; expected true or false",
            reason="INVALID_TYPE",
            field="options.actions_are_normalized",
        )
    return ScoreCall(
        observation=as_observation(observation, "context.observation"),
        goal=as_observation(goal, "context.goal"),
        action_history=None if history is None else as_array(history, "context.action_history", rank=3),
        action_candidates=as_array(action_candidates, "action_candidates", rank=4),
        model=keywords.get("model", ""),
        options=ScoreOptions(_objective(keywords.get("objective")), weight, normalized),
        extra_info=keywords.get("extra_info") or {},
    )


def _objective(value: object) -> Objective | None:
    if value is None:
        return None
    try:
        return Objective(value)
    except ValueError:
        raise InvalidArgumentError(
            f"is {value!r}; expected one of {', '.join(item.value for item in Objective)}",
            reason="UNKNOWN_OBJECTIVE",
            field="options.objective",
        ) from None


def _score_steps(call: ScoreCall, specs: dict[str, ModelSpec]) -> _Steps[ScoreResult]:
    known = specs.get(call.model)
    if known is None or not _fits(call, known):
        # Unknown, or perhaps changed by a server restart: ask before refusing.
        specs[call.model] = yield from _model_steps(call.model)
        check_score_call(call, specs[call.model])
    response = yield "Score", messages.score_request(call)
    return messages.score_result(response)


def _fits(call: ScoreCall, spec: ModelSpec) -> bool:
    try:
        check_score_call(call, spec)
    except (InvalidArgumentError, OutOfRangeError, FailedPreconditionError):
        return False
    return True


def _model_steps(name: str) -> _Steps[ModelSpec]:
    response = yield "GetModel", jepa_pb2.GetModelRequest(model=name)
    return messages.model_spec(response.model)


def _models_steps() -> _Steps[list[ModelSpec]]:
    response = yield "ListModels", jepa_pb2.ListModelsRequest()
    return [messages.model_spec(model) for model in response.models]


def _remaining(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
