"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.contract.types import Context, LatentFrames, ScoreResult
from worldforge_jepa_client.errors import DeadlineExceededError, UnavailableError
from worldforge_jepa_client.inputs.arrays import as_observation
from worldforge_jepa_client.inputs.build import (
    build_named_scene,
    build_plan_call,
    build_scene,
    build_score_call,
    build_unroll_call,
    context_id,
)
from worldforge_jepa_client.inputs.keywords import PlanKeywords, ScoreKeywords, UnrollKeywords
from worldforge_jepa_client.rpc import operations
from worldforge_jepa_client.rpc.aio_session import AsyncSession
from worldforge_jepa_client.rpc.channel import (
    DEFAULT_TARGET,
    READY_POLL_SECONDS,
    channel_options,
    deadline_after,
    remaining,
)
from worldforge_jepa_client.rpc.operations import Specs, Steps
from worldforge_jepa_client.rpc.plan_stream import AsyncPlanning
from worldforge_jepa_client.rpc.session_scene import build_session_scene
from worldforge_jepa_client.shm.channel import SharedAioChannel
from worldforge_jepa_client.v1 import jepa_pb2_grpc
from worldforge_jepa_client.wire.status import from_rpc_error

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

_R = TypeVar("_R")


class AsyncClient:
    """`Client` for asyncio: the same methods and arguments, awaited."""

    def __init__(self, target: str = DEFAULT_TARGET, *, timeout: float = 10.0, shared_memory: bool = False) -> None:
        self.target, self.timeout = target, timeout
        self._specs: Specs = {}
        channel = grpc.aio.insecure_channel(target, options=channel_options(target))
        self._channel: Any = SharedAioChannel(channel) if shared_memory else channel
        self._stub = jepa_pb2_grpc.WorldModelServiceStub(self._channel)

    async def score(
        self,
        *,
        action_candidates: object,
        observation: object = None,
        goal: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **keywords: Unpack[ScoreKeywords],
    ) -> ScoreResult:
        """See `Client.score`."""
        scene = build_named_scene(context, observation, goal, keywords.get("action_history"))
        return await self._run(
            operations.score_steps(build_score_call(scene, action_candidates, keywords), self._specs), timeout
        )

    def session(
        self, *, observation: object, goal: object, timeout: float | None = None, **keywords: Unpack[ScoreKeywords]
    ) -> AsyncSession:
        """See `Client.session`: `async with client.session(...) as session: await session.score(candidates)`."""
        scene = build_session_scene(observation, goal, keywords, self._specs)
        seconds = self.timeout if timeout is None else timeout
        return AsyncSession(scene, self._run, self._stub.ScoreStream, target=self.target, timeout=seconds)

    def plan(
        self,
        *,
        observation: object = None,
        goal: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **keywords: Unpack[PlanKeywords],
    ) -> AsyncPlanning:
        """See `Client.plan`; what the server refuses is raised when the plan is first awaited."""
        deadline = self._deadline(timeout)
        scene = build_named_scene(context, observation, goal, keywords.get("action_history"))
        call = build_plan_call(scene, keywords)

        async def start() -> Any:
            request = await self._run(operations.plan_steps(call, self._specs), remaining(deadline))
            return self._stub.Plan(request, timeout=remaining(deadline))

        return AsyncPlanning(start, self.target)

    async def create_context(
        self,
        *,
        observation: object,
        goal: object,
        action_history: object = None,
        model: str = "",
        timeout: float | None = None,
    ) -> Context:
        """See `Client.create_context`."""
        scene = build_scene(observation, goal, action_history)
        return await self._run(operations.create_context_steps(scene, model, self._specs), timeout)

    async def delete_context(self, context: Context | str, *, timeout: float | None = None) -> None:
        """See `Client.delete_context`."""
        await self._run(operations.delete_context_steps(context_id(context)), timeout)

    async def encode(
        self, *, observation: object, model: str = "", dtype: str = "float32", timeout: float | None = None
    ) -> LatentFrames:
        """See `Client.encode`."""
        frames = as_observation(observation, "observation")
        return await self._run(operations.encode_steps(frames, model, dtype, self._specs), timeout)

    async def unroll(
        self,
        *,
        action_candidates: object,
        observation: object = None,
        context: Context | str | None = None,
        timeout: float | None = None,
        **keywords: Unpack[UnrollKeywords],
    ) -> AsyncIterator[tuple[int, LatentFrames]]:
        """See `Client.unroll`: `async for step, latents in client.unroll(...)`."""
        deadline = self._deadline(timeout)
        scene = build_named_scene(context, observation, None, keywords.get("action_history"))
        call = build_unroll_call(scene, action_candidates, keywords)
        request = await self._run(operations.unroll_steps(call, self._specs), remaining(deadline))
        responses = self._stub.Unroll(request, timeout=remaining(deadline))
        try:
            async for response in responses:
                yield response.step, wire.latent_frames(response.latents)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self.target) from None
        finally:
            responses.cancel()

    async def model(self, name: str = "", *, timeout: float | None = None) -> ModelSpec:
        """See `Client.model`."""
        return await self._run(operations.model_steps(name), timeout)

    async def models(self, *, timeout: float | None = None) -> list[ModelSpec]:
        """See `Client.models`."""
        return await self._run(operations.models_steps(), timeout)

    async def wait_ready(self, timeout: float = 30.0) -> None:
        """See `Client.wait_ready`."""
        deadline, unavailable = deadline_after(timeout), None
        while True:
            try:
                await self.models(timeout=remaining(deadline))
                return
            except DeadlineExceededError as late:  # the last try had little time; why the others failed says more
                raise unavailable or late from None
            except UnavailableError as error:
                if not remaining(deadline):
                    raise
                unavailable = error
                await asyncio.sleep(READY_POLL_SECONDS)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _deadline(self, timeout: float | None) -> float:
        return deadline_after(self.timeout if timeout is None else timeout)

    async def _run(self, todo: Steps[_R], timeout: float | None) -> _R:
        deadline = self._deadline(timeout)
        response = None
        while True:
            try:
                method, request = todo.send(response)
            except StopIteration as stop:
                result: _R = stop.value
                return result
            try:
                response = await getattr(self._stub, method)(request, timeout=remaining(deadline))
            except grpc.RpcError as error:
                raise from_rpc_error(error, self.target) from None
